"""The clients of the simulated servers: they send mail, change email addresses and links, and read.

A client knows only what a server replied. If a server is killed during a call, or replies too late, the outcome of the
call is unknown. A call with a client token is then repeated with the same token.
"""

import asyncio
import hashlib
import traceback
from functools import partial

from faults.simulation.history import ALWAYS, Replay, Sent
from faults.simulation.server import Lost
from tests.kit.values import TENANT, an_email_address
from tests.linearizability.checker import Operation
from waypost.app import ports
from waypost.app.directory import aliases, email_addresses, tags
from waypost.app.directory.idempotency import TokenedCall
from waypost.app.mail import explain
from waypost.app.mail.faults import FaultRules
from waypost.app.ports.failures import STORE_FAILURES
from waypost.app.queue import redrive
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail.messages import NO_DSN, Dsn, Envelope, RecipientDsn, end_of_header
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.requests import MessageReceived, PieceReceived, RecipientGiven

INSTANCE = "i"

REPEATS = 4
"""How often a client repeats a call whose outcome is unknown."""

PATIENCE = (2.0, 60.0, 1000.0)
"""How long a client waits for a reply, in seconds: one of these times."""

WANTS_ALL = RecipientDsn(notify=("SUCCESS", "FAILURE", "DELAY"))
"""The wish of a sender for notices of successes, failures and delays."""

PAGE = 4096

PIECE = 40_000
"""The size of the pieces of a large message."""


class Client:
    """One client. It makes one call at a time."""

    def __init__(self, world, name):
        self._world, self.name = world, name
        self._history, self._chance = world.history, world.chance
        self._numbers = 0

    async def work(self, count):
        """Make a number of random calls."""
        kinds = {
            self._send: 6,
            self._create: 2,
            self._delete: 1,
            self._associate: 4,
            self._disassociate: 2,
            self._describe: 2,
            self._tag: 1,
            self._untag: 1,
            self._list_tags: 1,
            self._update: 1,
            self._explain: 1,
            self._redrive: 1,
            self._replay: 1,
        }
        for call in self._chance.choices(list(kinds), kinds.values(), k=count):
            await asyncio.sleep(self._chance.expovariate(1.5))
            await call()

    async def describe_all(self):
        """Describe every email address, so that the history shows the final state."""
        named = {one for call in self._history.calls for one in call.arguments}
        for email_address_id in [one for one in self._history.ids if one in named]:
            await self._describe(email_address_id)
            await self._list_tags(email_address_id)

    # Calls about email addresses.

    def _new_name(self):
        self._numbers += 1
        return f"{self.name}.{self._numbers}"

    def _an_id(self):
        """Return the id of an email address that a client has named, often one that changes."""
        changing = [one for one in self._history.ids if "." in one][-8:]
        if changing and self._chance.random() < 0.6:
            return self._chance.choice(changing)
        return self._chance.choice([*self._world.fixed[:3], *self._world.routed])

    def _two_ids(self):
        one = other = self._an_id()
        while one == other:
            other = self._an_id()
        return one, other

    async def _create(self):
        name = self._chance.choice(self._world.changing)
        email_address_id = f"{name}.{self._new_name()}"
        new = an_email_address(email_address_id)
        new = type(new)(**{field: getattr(new, field) for field in new.__struct_fields__} | {"address": _address(name)})
        self._history.ids[email_address_id] = new.address.text
        use_case = partial(email_addresses.create, tenant=TENANT, email_address=new, tags={})
        await self._change("create", (email_address_id, new.address.key), use_case)

    async def _delete(self):
        email_address_id = self._chance.choice([one for one in self._history.ids if "." in one] or [""])
        if email_address_id:
            await self._change(
                "delete",
                (email_address_id,),
                partial(email_addresses.delete, tenant=TENANT, instance_id=INSTANCE, email_address_id=email_address_id),
                has_token=False,
            )

    async def _associate(self):
        primary, alias = self._two_ids()
        await self._link("associate", aliases.associate, primary, alias)

    async def _disassociate(self):
        ends = [
            each.arguments for each in self._history.calls if each.kind == "associate" and each.outcome != "conflict"
        ]
        primary, alias = self._chance.choice(ends) if ends else self._two_ids()
        await self._link("disassociate", aliases.disassociate, primary, alias)

    async def _link(self, kind, use_case, primary, alias):
        now = self._world.chance.choice(list(self._world.servers.values())).clock()
        use_case = partial(use_case, tenant=TENANT, instance_id=INSTANCE, primary_id=primary, alias_id=alias, now=now)
        await self._change(kind, (primary, alias), use_case)

    async def _tag(self):
        email_address_id, key, value = self._an_id(), self._chance.choice("kl"), self._chance.choice("12")
        resource = tags.Resource(INSTANCE, email_address_id)
        await self._change(
            "tag",
            (email_address_id, key, value),
            partial(tags.add, tenant=TENANT, resource=resource, new={key: value}),
            has_token=False,
        )

    async def _untag(self):
        email_address_id, key = self._an_id(), self._chance.choice("kl")
        resource = tags.Resource(INSTANCE, email_address_id)
        use_case = partial(tags.remove, tenant=TENANT, resource=resource, keys=[key])
        await self._change("untag", (email_address_id, key), use_case, has_token=False)

    async def _describe(self, email_address_id=None):
        one = email_address_id or self._an_id()
        describe = partial(email_addresses.describe, tenant=TENANT, instance_id=INSTANCE, email_address_id=one)
        await self._read("describe", (one,), describe, lambda found: (found.alias_id,) if found.alias_id else ())

    async def _list_tags(self, email_address_id=None):
        one = email_address_id or self._an_id()
        use_case = partial(tags.of, tenant=TENANT, resource=tags.Resource(INSTANCE, one))
        await self._read("tags", (one,), use_case, lambda found: tuple(f"{k}={v}" for k, v in sorted(found.items())))

    async def _update(self):
        use_case = partial(
            email_addresses.update_metadata,
            tenant=TENANT,
            instance_id=INSTANCE,
            email_address_id=self._an_id(),
            display_name=self._new_name(),
            description=None,
        )
        server = await self._a_server()
        await self._outcome(server, server.store.write(partial(use_case, now=server.clock())))

    async def _change(self, kind, arguments, use_case, *, has_token=True):
        """Make a call that changes something, repeat it if its outcome is unknown, and record it."""
        began, outcome = self._world.now(), None
        may_have_happened = may_happen_later = False
        call = {}
        if has_token:
            name = self._new_name()
            key = ports.CallKey(TENANT, kind, INSTANCE, name)
            digest = hashlib.sha256(repr(arguments).encode()).digest()
            call = {"call": TokenedCall(key, digest, self._world.token_retention)}
        for _ in range(REPEATS if has_token else 1):
            server = await self._a_server()
            at = self._world.now()
            outcome, _ = await self._outcome(server, server.store.write(partial(use_case, **call)))
            may_happen_later |= outcome is None and server.is_alive
            may_have_happened |= outcome is None or (outcome == "failed" and self._may_have_committed(server, at))
            if outcome not in {None, "failed"}:
                break
        if outcome == "failed":
            outcome = None if may_have_happened else "busy"
        if outcome != "ok" and may_happen_later:
            outcome = None  # an earlier call, whose reply the client did not wait for, may still succeed
        self._record(kind, arguments, outcome, began)

    async def _read(self, kind, arguments, use_case, shown):
        began, server = self._world.now(), await self._a_server()
        outcome, found = await self._outcome(server, server.store.read(use_case))
        if outcome == "ok":
            self._record(kind, arguments, shown(found), began)
        elif outcome == "not found":
            self._record(kind, arguments, outcome, began)

    def _record(self, kind, arguments, outcome, began):
        self._world.log(kind, *arguments, outcome)
        self._history.calls.append(
            Operation(
                process=self.name,
                kind=kind,
                arguments=arguments,
                outcome=outcome,
                invoked_at=began,
                returned_at=None if outcome is None else self._world.now(),
            )
        )

    def _may_have_committed(self, server, since):
        return any(process == server.process and at >= since for process, at in self._world.commits_lost)

    async def _a_server(self):
        """Return a server that accepts connections. Wait until there is one."""
        while (server := self._world.a_live_server()) is None:  # noqa: ASYNC110 - as a client that connects again
            await asyncio.sleep(1)
        return server

    async def _outcome(self, server, work):
        """Return the outcome of a call on a server, and its result. The outcome is None if it is unknown, and "failed"
        if the server's store failed.
        """
        try:
            return "ok", await server.call(work, patience=self._chance.choice(PATIENCE))
        except (Lost, ConnectionRefusedError):
            return None, None
        except errors.NotFound:
            return "not found", None
        except errors.Duplicate:
            return "duplicate", None
        except errors.Conflict:
            return "conflict", None
        except STORE_FAILURES:
            return "failed", None
        except Exception:  # noqa: BLE001 - the client would get an internal error, which the model reports
            self._history.bugs.append(traceback.format_exc())
            return None, None

    # Mail.

    async def _send(self):
        chance, world = self._chance, self._world
        names = [*world.fixed[:3], *world.changing, *world.routed, *world.routed]
        many = [*world.fixed, *world.routed]
        wanted = chance.sample(many, 25) if chance.random() < 0.15 else chance.sample(names, chance.randint(1, 3))
        wanted = list(dict.fromkeys(wanted))
        token = self._new_name()
        body = chance.randbytes(chance.choice([10, 10, 10, 50_000])).hex().encode()
        lines = b"\r\n".join(body[start : start + 70] for start in range(0, len(body), 70))
        raw = b"Subject: mail " + token.encode() + b"\r\n\r\n" + lines + b"\r\n"
        if self._numbers % 3 == 0:  # a defect may concern sizes that fill pages
            raw += b"-" * (-(len(raw) + 2) % PAGE) + b"\r\n"
        sender = chance.choice([*world.fixed[:2], "stranger"])
        sender = f"{sender}@{'example.org' if sender == 'stranger' else 'example.com'}"
        for _ in range(chance.choice([1, 1, 3])):  # some senders send again after an unknown or temporary reply
            server, began = await self._a_server(), world.now()
            given = {
                "client": self.name,
                "server": server.process,
                "sender": sender,
                "recipients": tuple(_address(name).key for name in wanted),
                "raw": raw,
                "began": began,
            }
            number = len(self._history.sent)
            self._history.sent.append(Sent(**given))  # known to the model even if the client never gets a reply
            code, accepted, reply = await self._session(server, sender, wanted, raw)
            may_have_committed = not code or (code == 451 and self._may_have_committed(server, began))
            outcome = "accepted" if code == 250 else "unknown" if may_have_committed else "refused"
            world.log("sent", raw[:40], outcome, code, reply if code == 250 else "")  # others have a random incident id
            given["recipients"] = tuple(_address(name).key for name in accepted) or given["recipients"]
            self._history.sent[number] = Sent(
                **given,
                ended=ALWAYS if outcome == "unknown" else world.now(),
                outcome=outcome,
                message_id=reply.split()[2] if code == 250 else "",
            )
            if code not in {0, 421, 451}:
                return

    async def _explain(self):
        server = await self._a_server()
        asked = explain.Asked(_address(self._chance.choice([*self._world.routed, *self._world.changing])))
        use_case = partial(
            explain.explain,
            deployment=server.deployment,
            account=TENANT.account,
            asked=asked,
            now=server.clock(),
            faults=FaultRules(),
        )
        await self._outcome(server, server.store.read(use_case))

    async def _redrive(self):
        server = await self._a_server()
        list_dead = partial(redrive.dead_letters, account=TENANT.account)
        outcome, found = await self._outcome(server, server.store.long_read(list_dead, what="dead letters"))
        if outcome != "ok" or not found:
            return
        one = self._chance.choice(found).delivery.id
        use_case = partial(redrive.redrive, account=TENANT.account, ids=[one], now=server.clock())
        await self._outcome(server, server.store.write(use_case))
        server.worker.wake()

    async def _replay(self):
        server, began = await self._a_server(), self._world.now()
        alias = _address(self._chance.choice([*self._world.fixed[:3], *self._world.changing]))
        self._history.replays.append(Replay(about=alias.key, began=began, ended=ALWAYS))
        use_case = partial(
            redrive.replay,
            deployment=server.deployment,
            account=TENANT.account,
            alias=alias,
            since=self._world.beginning,
            now=server.clock(),
        )
        await self._outcome(server, server.store.write(use_case))

    async def _session(self, server, sender, names, raw):
        """Send a message in one SMTP session. Return the code of the last reply, the accepted recipients, and the
        reply. The code is 0 if the client got no reply after the end of the message, and 421 if it got none earlier.
        """
        patience, accepted = self._chance.choice(PATIENCE), []
        reception = server.reception()
        try:
            for name in names:
                reply = await self._ask(server, reception, RecipientGiven(_address(name), sender=sender), patience)
                if reply.code == 250:
                    accepted.append(name)
                elif reply.code == 451:
                    return 451, (), str(reply)
            if not accepted:
                return 550, (), ""
            recipients = tuple(map(_address, accepted))
            envelope = Envelope(
                sender=sender,
                recipients=tuple(one.text for one in recipients),
                helo="client.example",
                peer="192.0.2.1",
                protocol="ESMTP",
                dsn=Dsn(recipients=(WANTS_ALL,) * len(recipients)) if self._chance.random() < 0.2 else NO_DSN,
            )
            start = 0
            while len(raw) - start > PIECE:
                reply = await self._ask(server, reception, PieceReceived(raw[start : start + PIECE], start), patience)
                if reply != replies.OK:
                    return reply.code, (), str(reply)
                start += PIECE
        except (Lost, ConnectionRefusedError):
            return 421, (), ""
        message = MessageReceived(envelope, recipients, raw[start:], start, raw[: end_of_header(raw)])
        try:
            reply = await self._ask(server, reception, message, patience)
        except Lost:
            return 0, accepted, ""
        except ConnectionRefusedError:
            return 421, (), ""
        server.in_background(reception.leave)
        return reply.code, accepted, str(reply)

    @staticmethod
    async def _ask(server, reception, request, patience):
        return await server.call(reception.answer(request), patience=patience)


def _address(name):
    return addresses.parse(f"{name}@example.com")
