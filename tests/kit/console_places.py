"""Instances and their email addresses in the console, for tests: the SDK next to the pages."""

import html
import re


class Place:
    """An instance, with the pages about its email addresses."""

    def __init__(self, console, instance_id):
        self.console = console
        self.connect = console.system.connect
        self.instance_id = instance_id
        self.text = f"{self.connect.meta.region_name}/{instance_id}"
        self.tail = instance_id[:8]

    def address(self, name):
        """Return an address that no other test has."""
        return f"{name}.{self.tail}@example.com"

    def create(self, name, **members):
        made = self.connect.create_email_address(
            InstanceId=self.instance_id, EmailAddress=self.address(name), **members
        )
        return made["EmailAddressId"]

    def associate(self, primary_id, alias_id):
        self.connect.associate_email_address_alias(
            InstanceId=self.instance_id,
            EmailAddressId=primary_id,
            AliasConfiguration={"EmailAddressId": alias_id},
        )

    def describe(self, email_address_id):
        return self.connect.describe_email_address(InstanceId=self.instance_id, EmailAddressId=email_address_id)

    def path(self, email_address_id, page=""):
        return f"/addresses/{self.text}/{email_address_id}{page and '/'}{page}"

    def list(self, **query):
        page = self.console.browser.get("/addresses", **{"in": self.text}, **query)
        assert page.status == 200, page.text
        return page

    def get(self, email_address_id, page="", **query):
        return self.console.browser.get(self.path(email_address_id, page), **query)

    def post(self, email_address_id, page, fields=None):
        return self.console.browser.post(self.path(email_address_id, page), fields)

    def follow(self, page):
        """Return the page to which a form has sent the browser."""
        assert page.status == 303, page.text
        return self.console.browser.get(page.location)


def forms_in(page):
    """Return the texts that a page offers to copy."""
    return [html.unescape(one) for one in re.findall(r"<pre data-copy>(.*?)</pre>", page.html, re.DOTALL)]
