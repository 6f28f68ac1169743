"""The public email addresses, made with Amazon Connect by boto3: each is the alias of the queue of a team."""

from botocore.exceptions import ClientError


class Refused(Exception):
    """Amazon Connect has refused a call. The message says why."""


class EntryPoints:
    """The public email addresses in an instance of Amazon Connect.

    `connect` is a boto3 client. Nothing here knows whether it calls AWS or Waypost.
    """

    def __init__(self, connect, instance_id):
        self._connect = connect
        self._instance_id = instance_id

    def open(self, public, queue, *, name=""):
        """Let mail for a public address arrive at a queue. Make the email addresses that do not exist.

        Raises `Refused`, for example if the queue has another public address. Opening an entry point again changes
        nothing.
        """
        alias = self._made(public, name)
        primary = self._made(queue, name)
        if alias["EmailAddressId"] not in _aliases(primary):
            self._call(
                "associate_email_address_alias",
                EmailAddressId=primary["EmailAddressId"],
                AliasConfiguration={"EmailAddressId": alias["EmailAddressId"]},
            )

    def close(self, public):
        """Delete a public address. Its queue stays, with its mail. Raises `Refused` if there is no such address."""
        alias = self._found(public)
        if alias is None:
            raise Refused(f"There is no entry point {public}.")
        for found in self._all():
            if alias["EmailAddressId"] in _aliases(found):
                self._call(
                    "disassociate_email_address_alias",
                    EmailAddressId=found["EmailAddressId"],
                    AliasConfiguration={"EmailAddressId": alias["EmailAddressId"]},
                )
        self._call("delete_email_address", EmailAddressId=alias["EmailAddressId"])

    def queues(self):
        """Return the queue of each public address, by the public address."""
        found = self._all()
        names = {address["EmailAddressId"]: address["EmailAddress"] for address in found}
        return {names[alias]: address["EmailAddress"] for address in found for alias in _aliases(address)}

    def _all(self):
        """Return all email addresses of the instance. boto3 has no paginator for this operation."""
        found, more = [], {}
        while True:
            page = self._call("search_email_addresses", **more)
            found += page["EmailAddresses"]
            if not page.get("NextToken"):
                return found
            more = {"NextToken": page["NextToken"]}

    def _found(self, email_address):
        """Return an email address, or None."""
        condition = {"FieldName": "emailAddress", "ComparisonType": "EXACT", "Value": email_address}
        found = self._call("search_email_addresses", SearchCriteria={"StringCondition": condition})
        return next(iter(found["EmailAddresses"]), None)

    def _made(self, email_address, name):
        """Return an email address, which is made if it does not exist."""
        if found := self._found(email_address):
            return found
        more = {"DisplayName": name} if name else {}
        return self._call("create_email_address", EmailAddress=email_address, **more)

    def _call(self, operation, **members):
        try:
            return getattr(self._connect, operation)(InstanceId=self._instance_id, **members)
        except ClientError as error:
            raise Refused(error.response["Error"]["Message"]) from error


def _aliases(address):
    return [alias["EmailAddressId"] for alias in address.get("AliasConfigurations", [])]
