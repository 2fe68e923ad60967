"""Checks of the project's prose: docstrings, comments, messages to users, templates and documents.

`python -m tests.voice` checks the whole project, `python -m tests.voice PATH…` files and folders.
A finding goes away by a rewrite. There is no list of exceptions, but a quotation in backticks or `<code>` is not read.
"""

import ast
import io
import os
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

MOST_WORDS: Final = 25  # of a sentence; code and lists aside
FEWEST_WORDS: Final = 4  # of a literal that reads as a message
SHAPES: Final = re.compile(
    r"\b(told|heard|stands|besides|anew|of late|nobody|somebody|ours|theirs|so many|in hand|met)\b", re.IGNORECASE
)
RIDDLES: Final = ("what", "who", "whose", "whom", "whether", "those", "which")  # as the beginning of a comment
OPENERS: Final = (*RIDDLES, "where", "how", "when", "that")  # as the beginning of a docstring
FILLERS: Final = re.compile(r"an?|and|are|as|at|be|by|for|from|in|is|it|its|of|on|or|return|the|this|to|with")

OTHERS: Final = (".yml", ".toml", ".js", ".mjs", ".css", ".sql", ".example", "file", "entrypoint")  # comments only
SKIPPED_FOLDERS: Final = {"node_modules", "migrations", "fixtures", "staticfiles"}
MARK: Final = "§"  # in place of a code span, a tag or a value
WORD: Final = re.compile(r"[^\W\d_][\w'’-]*")
CODE: Final = re.compile(r"``.+?``|`[^`]+`|\w+://\S+", re.DOTALL)
SENTENCE_END: Final = re.compile(r"[.!?…][\"'”’)]*\s+(?=[\"'“‘(]*[A-Z§])")
LIST: Final = re.compile(r"([\w'’§-]+ )?[\w'’§-]+(?:,\s+([\w'’§-]+\s+)?[\w'’§-]+){2,}(,?\s+(and|or)\s+[\w'’§-]+)?")
ITEM: Final = re.compile(r"\s*([-*•#]+\s|\d+[.)]\s)")
DIRECTIVE: Final = re.compile(r"(noqa(: [A-Z0-9, ]+)?|type: ignore(\[[^]]*\])?|fmt: \w+)\s*[-#]?|!.*")
LINE_COMMENT: Final = re.compile(r"^(|.*\s)(?:#+|//|--|/\*+)(?= )(.*?)(?:\*/)?$")
SQL: Final = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE|CREATE|ALTER|WITH|FROM|WHERE|JOIN|AND|VALUES)\b")
HIDDEN: Final = re.compile(
    r"<(script|style|code|pre)\b.*?</\1>|{#.*?#}|{% comment.*?endcomment %}|<!--.*?-->", re.DOTALL
)
TAG: Final = re.compile(r"{{.*?}}|{%-?\s*(\w+).*?%}|</?(\w+)[^<>]*>", re.DOTALL)
INLINE: Final = re.compile(r"if|endif|url|with|endwith|a|abbr|b|em|i|kbd|small|span|strong|time|sub|sup")
SHOWN: Final = re.compile(r"""\b(?:title|placeholder|aria-label|alt|value)=(["'])(.*?)\1""", re.DOTALL)


def check(path: str, source: str) -> list[str]:
    """Return the findings in a file, `path:line: finding`, in the order of the lines. Pure."""
    if path.endswith(".py"):
        findings = [*_check_docstrings(path, ast.parse(source)), *_check_comments(_comments(path, source))]
        if not path.startswith("tests/"):
            findings += _check_prose(_messages(ast.parse(source)))
    elif path.endswith((".html", ".txt")):
        findings = _check_prose(_shown_text(source))
    elif path.endswith(OTHERS):
        findings = _check_comments(_comments(path, source))
    else:
        findings = _check_prose([(1, re.sub(r"^```.*?^```", _blank, source, flags=re.DOTALL | re.MULTILINE))])
    return [f"{path}:{line}: {finding}" for line, finding in sorted(set(findings))]


def read_files(*paths: str) -> Iterator[tuple[str, str]]:
    """Yield path and text of every file with prose. No Git, because a checkout may belong to another user."""
    for path in paths or (".",):
        walk = [(str(path), [], [""])] if Path(path).is_file() else os.walk(path)
        for folder, folders, names in walk:
            folders[:] = [name for name in folders if name[0] != "." and name not in SKIPPED_FOLDERS]
            for file in sorted(Path(folder, name) for name in names):
                is_template = file.suffix in {".html", ".txt"} and "templates" in file.parts
                if is_template or file.name.endswith((".py", ".md", *OTHERS)):
                    yield file.as_posix(), file.read_text()


def list_homonyms(files: Iterable[tuple[str, str]]) -> list[str]:
    """Return the names that several classes of the product share, except the commands' `Command`."""
    places: dict[str, list[str]] = {}
    for path, source in files:
        if path.endswith(".py") and not path.startswith("tests/"):
            for node in ast.parse(source).body:
                if isinstance(node, ast.ClassDef) and node.name != "Command":
                    places.setdefault(node.name, []).append(f"{path}:{node.lineno}")
    return [f"{name}: {', '.join(lines)}" for name, lines in sorted(places.items()) if len(lines) > 1]


def _check_prose(paragraphs: Iterable[tuple[int, str]], openers: tuple[str, ...] = ()) -> list[tuple[int, str]]:
    findings = []
    for start, written in paragraphs:
        text = CODE.sub(_blank, written)
        first = WORD.match(text.lstrip(" \n\"'("))
        if first and first[0].lower() in openers:
            findings.append((start, f"begins with {first[0]}"))
        for line, sentence in _sentences(start, text):
            findings += [(line, f"says `{shape[0]}`") for shape in SHAPES.finditer(sentence)]
            if re.match(r"\W*(whose|whom)\b", sentence, re.IGNORECASE):
                findings.append((line, "begins a sentence with whose"))
            if (count := len(WORD.findall(LIST.sub("list", sentence)))) > MOST_WORDS:
                findings.append((line, f"has a sentence of {count} words: {' '.join(sentence.split())[:60]}…"))
    return findings


def _sentences(start: int, text: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each sentence; blank lines, list items and cells of tables end one too."""
    breaks = re.compile(rf"{SENTENCE_END.pattern}|\n\s*\n|\n(?={ITEM.pattern})|\||\n(?=\s*\|)")
    position = 0
    for end in [*(match.end() for match in breaks.finditer(text)), len(text)]:
        sentence = text[position:end]
        leading = len(sentence) - len(sentence.lstrip())
        yield start + text.count("\n", 0, position + leading), sentence.strip()
        position = end


def _check_docstrings(path: str, module: ast.Module) -> list[tuple[int, str]]:
    findings = []
    for node in ast.walk(module):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node, clean=False)
        if text is None:
            continue
        line = node.body[0].lineno
        findings += _check_prose([(line, text)], OPENERS)
        if "`" not in text and len(stems := _stems(text)) < MOST_WORDS:
            signature = path if isinstance(node, ast.Module) else ast.unparse(node).partition('"""')[0]
            findings += [(line, "repeats its definition")] if stems <= _stems(signature) else []
    return findings


def _stems(text: str) -> set[str]:
    words = (word.lower() for word in re.findall(r"[A-Z]?[a-z]{2,}|[A-Z]{2,}(?![a-z])", text))
    return {re.sub(r"(ies|es|s|e|y)$", "", word) for word in words if not FILLERS.fullmatch(word)}


def _check_comments(comments: Iterable[tuple[int, bool, str]]) -> list[tuple[int, str]]:
    blocks: list[tuple[int, bool, str]] = []  # number of the last line, without code in it, text
    for line, is_alone, comment in comments:
        text = "" if comment.startswith("    ") else DIRECTIVE.sub("", comment.strip())  # indented comments show code
        if is_alone and blocks and blocks[-1][:2] == (line - 1, True):
            text = f"{blocks.pop()[2]}\n{text}"
        blocks.append((line, is_alone, text))
    return _check_prose(((line - text.count("\n"), text) for line, _, text in blocks), RIDDLES)


def _comments(path: str, source: str) -> Iterator[tuple[int, bool, str]]:
    """Yield each comment: number of its line, whether the line has no code, text."""
    if path.endswith(".py"):
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.line.lstrip().startswith("#"), token.string.lstrip("#:")
    else:
        for line, text in enumerate(source.splitlines(), start=1):
            if match := LINE_COMMENT.match(text):
                yield line, not match[1].strip(), match[2]


def _messages(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the literals that read as sentences, because most of them reach a user or an operator."""
    docstrings = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(module) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else MARK for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | parts:
            text = node.value
        else:
            continue
        if SQL.search(text):
            yield from ((node.lineno, comment) for comment in re.findall(r"-- (.+)", text))
        elif len(WORD.findall(text)) >= FEWEST_WORDS and re.search("^[A-Z]|[.,:;?!]", text):
            yield (node.lineno, text)


def _shown_text(source: str) -> Iterator[tuple[int, str]]:
    """Yield the text of a template. Tags within a sentence become marks, all others end it."""
    source = HIDDEN.sub(_blank, source)
    for shown in SHOWN.finditer(source):
        yield (source.count("\n", 0, shown.start()) + 1, TAG.sub(MARK, shown[2]))
    text, line, position = "", 1, 0
    for tag in TAG.finditer(source):
        text += source[position : tag.start()]
        if (name := tag[1] or tag[2]) and not INLINE.fullmatch(name):
            yield (line, text)
            line += text.count("\n") + tag[0].count("\n")
            text = ""
        else:
            text += _blank(tag) if name is None else "\n" * tag[0].count("\n")
        position = tag.end()
    yield (line, text + source[position:])


def _blank(match: re.Match[str]) -> str:
    return MARK + "\n" * match[0].count("\n")


if __name__ == "__main__":
    given = sys.argv[1:]
    files = list(read_files(*given))
    findings = [finding for path, source in files for finding in check(path, source)]
    findings += [] if given else list_homonyms(files)
    print(*findings, sep="\n", end="\n" if findings else "")
    sys.exit(bool(findings))
