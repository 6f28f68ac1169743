"""The AWS API: the email-address operations of Amazon Connect over HTTP, signed with SigV4.

pipeline          application, errors
access            sigv4, canonical, policy, throttle
wire              protocol, http, rest_json, bodies, json_form, bindings, texts; shapes and constraints, from model.json
operations        table, instances, email_addresses, searching, tags, calls, arns, page_tokens
"""
