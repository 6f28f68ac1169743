"""The console: pages about mail, email addresses and the queue for people, in a browser.

To add a page:

1. Write a file in `views/` with one async function for each view. The function takes a `Visit`. It reads with
   `await visit.long_read(use_case, what="the …")`, or changes data with `await visit.write(use_case)`. It returns
   `visit.page("x.html", …)`, or after a change `visit.redirect("/x", notice="…")`.
2. Write its template in `templates/`. It begins with `{% extends "base.html" %}` and fills the block `content`. Every
   form that sends POST contains `{{ csrf }}`.
3. Add a line to the table of views in `asgi.py`: the path, the function, and the IAM action that the key's policy must
   allow. A view with a `label` has a link in the header.

A view needs no other check: the guard has already checked the peer, `Host`, `Origin`, the session, the CSRF token of a
POST request, and the policy. A view raises exceptions of `domain.errors`, and the guard turns them into pages.

A stream of events for `data-events` in `console.js` is a `StreamingResponse` with the media type `text/event-stream`.
The HTTP server ends it when the server stops.
"""
