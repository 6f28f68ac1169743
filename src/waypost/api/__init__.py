"""The AWS edge: rest-json over HTTP, signed with SigV4, for the email-address part of Amazon Connect."""
