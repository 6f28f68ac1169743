"""The page with the access keys of an account and their policies. It never shows a secret."""

import json

from starlette.responses import Response

from waypost.app import ports
from waypost.console.visits import Visit
from waypost.domain.iam.access_keys import AccessKey


async def show(visit: Visit) -> Response:
    """Show the access keys of the account, oldest first."""

    def of_account(tx: ports.ReadTx) -> list[AccessKey]:
        return [key for key in tx.access_keys() if key.account == visit.account]

    found = await visit.long_read(of_account, what="the access keys")
    now = visit.parts.clock()
    rows = [{"key": key, "policy": _indented(key.document), "is_expired": key.is_expired(now)} for key in found]
    return visit.page("keys.html", rows=rows)


def _indented(document: str) -> str:
    """Return a policy in a form that people can read."""
    try:
        return json.dumps(json.loads(document), indent=2, ensure_ascii=False)
    except ValueError:
        return document
