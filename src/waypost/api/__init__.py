"""The AWS edge: the email-address part of Amazon Connect over HTTP, signed with SigV4.

the door          asgi (the pipeline), http, errors
who and how much  signing, canonical, policy, throttle
the wire          protocol, rest_json, bodies, json_form, bindings, texts; shapes and constraints, from model.json
what              operations (the table), instances, email_addresses, searching, tags, calls, arns, page_tokens
"""
