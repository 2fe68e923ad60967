// Looks again at an event that waits for the digest, once a second (pages/events/event.html with ?follow=1).
"use strict";

setTimeout(() => location.reload(), 1000);
