"""A visit: one request of a person who has signed in, with everything that a view needs to answer it."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from waypost.app import ports
from waypost.console import cookies
from waypost.console.calls import Call, Caller
from waypost.console.parts import PREFIX, Parts
from waypost.console.rendering import Pages
from waypost.domain.iam import actions
from waypost.domain.iam.access_keys import AccessKey

T = TypeVar("T")

AGAIN = "Please try again."
"""The advice in the error message for a request that takes too long and that the person cannot make smaller."""


class NotAllowed(Exception):
    """The policy of the person's access key does not allow an action. The message is a sentence for the person."""


class Visit:
    """One request of a person who has signed in."""

    def __init__(self, request: Request, parts: Parts, pages: Pages, *, key: AccessKey, csrf_token: str) -> None:
        self.request = request
        self.parts = parts
        self.key = key
        """The access key with which the person has signed in. It is read from the store for each request."""
        self.form: Mapping[str, str] = {}
        """The fields of the form, if the request is POST."""
        self._pages = pages
        self.csrf_token = csrf_token

    @property
    def account(self) -> str:
        """The account whose mail, email addresses and keys the person may see."""
        return self.key.account

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters in the URL."""
        return self.request.query_params

    @property
    def is_fragment(self) -> bool:
        """Whether htmx asks for a part of a page, and not a browser for the whole page."""
        headers = self.request.headers
        return "hx-request" in headers and "hx-history-restore-request" not in headers

    @property
    def endpoint(self) -> str:
        """The URL of the Amazon Connect API, as the browser reaches it."""
        return f"{self.request.url.scheme}://{self.request.url.netloc}"

    def allows(self, action: str) -> bool:
        """Return whether the policy of the key allows an action, such as `waypost:Inspect`, for the whole account."""
        return actions.is_allowed(
            action,
            self.key,
            ip=self.request.client.host if self.request.client else "",
            is_secure=self.request.url.scheme == "https",
            user_agent=self.request.headers.get("user-agent", ""),
            now=self.parts.clock(),
        )

    def require(self, action: str, *, of_owner: bool = False) -> None:
        """Raise `NotAllowed` unless the policy of the key allows an action. If `of_owner` is true, the key must also
        belong to the account of the server's owner.
        """
        if not self.allows(action):
            raise NotAllowed(f"The policy of access key {self.key.id} does not allow {action}.")
        if of_owner and self.account != self.parts.deployment.owner:
            raise NotAllowed(
                f"{action} needs an access key of the server owner's account {self.parts.deployment.owner}."
            )

    async def read(self, use_case: Callable[[ports.ReadTx], T]) -> T:
        """Run a use case that makes only a few point queries."""
        return await self.parts.store.read(use_case)

    async def long_read(self, use_case: Callable[[ports.ReadTx], T], *, what: str, instead: str = AGAIN) -> T:
        """Run a use case on one snapshot of the store. `what` is a noun phrase that names the data, and `instead` a
        sentence of advice, both for the error message if the read takes too long.
        """
        try:
            return await self.parts.store.long_read(use_case, what=what, account=self.account)
        except ports.TookTooLong as error:
            raise HTTPException(503, f"{error} {instead}") from error

    async def write(self, use_case: Callable[[ports.WriteTx], T]) -> T:
        """Run a use case that changes data. When this method returns, the changes are durable."""
        return await self.parts.store.write(use_case)

    async def call(self, call: Call) -> Mapping[str, Any]:
        """Run a call of the Amazon Connect API as the person's access key, and return the members of its output.

        Raises `calls.Refused` with the code and the message of the API.
        """
        client = self.request.client
        caller = Caller(
            self.key,
            ip=client.host if client else "",
            is_secure=self.request.url.scheme == "https",
            user_agent=self.request.headers.get("user-agent", ""),
        )
        return await self.parts.perform(call, caller)

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Return a response with a page, or with a fragment for htmx. `values` are the variables of the template."""
        notice = "" if self.is_fragment else cookies.notice(self.request)
        html = self._pages.render(
            template, request=self.request, csrf_token=self.csrf_token, visit=self, notice=notice, **values
        )
        response = HTMLResponse(html, status_code=status)
        if notice:
            cookies.remove(response, cookies.NOTICE)
        return response

    def redirect(self, path: str, *, notice: str = "") -> Response:
        """Return a response that sends the browser to a page of the console with a GET request. `path` is the path
        without the prefix, such as `/keys`. The page shows the sentence `notice` once.
        """
        response = RedirectResponse(f"{PREFIX}{path}", status_code=303)
        if notice:
            cookies.put_notice(response, notice)
        return response
