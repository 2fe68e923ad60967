"""E-mails through the mail server of GOALPOST_EMAIL_URL."""

import smtplib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog
from django.conf import settings
from django.core.mail import EmailMessage

from api.http.database import once

log = structlog.get_logger(__name__)

MOST_WAITING: Final = 20  # e-mails that wait for the thread of a process; strangers cause them


class MailError(Exception):
    """Reason why an e-mail was not sent, in words. It leaves out what the server says, which may quote addresses."""


def has_mail() -> bool:
    """Return True if a mail server is set."""
    return bool(settings.EMAIL_HOST)


def send_email(subject: str, body: str, address: str) -> None:
    """Hand an e-mail to the mail server, within EMAIL_TIMEOUT seconds a step. Raises MailError."""
    try:
        EmailMessage(subject, body, to=[address]).send()
    except smtplib.SMTPRecipientsRefused as error:
        codes = ", ".join(str(code) for code, _ in error.recipients.values())
        raise MailError(f"The mail server refused the address: {codes}.") from error
    except smtplib.SMTPResponseException as error:
        raise MailError(f"The mail server answered {error.smtp_code}.") from error
    except ValueError as error:
        raise MailError("The address cannot be written to.") from error
    except OSError as error:  # smtplib's other exceptions too
        reason = error.strerror or type(error).__name__
        raise MailError(f"The mail server could not be reached: {reason}.") from error


def send_in_background(subject: str, body: str, address: str) -> None:
    """Let a thread send an e-mail, so that the request takes as long as one that sends none.

    The e-mail is dropped if MOST_WAITING wait.
    """
    room, thread = _background()
    if room.acquire(blocking=False):
        thread.submit(_send_and_leave, room, subject, body, address)
    else:
        log.warning("mail.dropped")


def _send_and_leave(room: threading.Semaphore, subject: str, body: str, address: str) -> None:
    try:
        send_email(subject, body, address)
    except MailError as error:
        log.warning("mail.failed", reason=str(error))
    finally:
        room.release()


@once
def _background() -> tuple[threading.Semaphore, ThreadPoolExecutor]:
    return threading.Semaphore(MOST_WAITING), ThreadPoolExecutor(1, "mail")
