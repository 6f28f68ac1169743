// Calls every operation of Waypost with the AWS SDK for JavaScript 3, configured only by its usual environment variables.
// The SDK is in the directory that FOREIGN names. Prints the number of checks that passed.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(process.env.FOREIGN + "/");
const {
  ConnectClient,
  AssociateEmailAddressAliasCommand,
  CreateEmailAddressCommand,
  CreateInstanceCommand,
  DeleteEmailAddressCommand,
  DeleteInstanceCommand,
  DescribeEmailAddressCommand,
  DescribeInstanceCommand,
  DisassociateEmailAddressAliasCommand,
  ListTagsForResourceCommand,
  SearchEmailAddressesCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateEmailAddressMetadataCommand,
  paginateListInstances,
  DuplicateResourceException,
  ResourceConflictException,
  ResourceNotFoundException,
} = require("@aws-sdk/client-connect");

const client = new ConnectClient({ maxAttempts: 1 });
const send = (command) => client.send(command);
let passed = 0;
const check = (value, expected) => {
  assert.deepEqual(value, expected);
  passed += 1;
};
const refused = async (command, type) => {
  await assert.rejects(send(command), (error) => error instanceof type && error.message.length > 0);
  passed += 1;
};

const made = await send(
  new CreateInstanceCommand({
    IdentityManagementType: "CONNECT_MANAGED",
    InstanceAlias: "from-javascript",
    InboundCallsEnabled: true,
    OutboundCallsEnabled: false,
  }),
);
const InstanceId = made.Id;
const described = await send(new DescribeInstanceCommand({ InstanceId }));
check(described.Instance.InstanceAlias, "from-javascript");
check(described.Instance.CreatedTime instanceof Date, true);

const instances = [];
for await (const page of paginateListInstances({ client, pageSize: 1 }, {})) {
  instances.push(...page.InstanceSummaryList.map((instance) => instance.Id));
}
check(instances.includes(InstanceId), true);

const create = (address) =>
  send(new CreateEmailAddressCommand({ InstanceId, EmailAddress: address, DisplayName: "Grüße", Tags: { team: "a" } }));
const primary = await create("js-queue@example.com");
const alias = await create("js-support@example.com");
await refused(
  new CreateEmailAddressCommand({ InstanceId, EmailAddress: "js-queue@example.com" }),
  DuplicateResourceException,
);

const link = {
  InstanceId,
  EmailAddressId: primary.EmailAddressId,
  AliasConfiguration: { EmailAddressId: alias.EmailAddressId },
};
await send(new AssociateEmailAddressAliasCommand(link));
await refused(new AssociateEmailAddressAliasCommand({ ...link, ClientToken: "another" }), ResourceConflictException);
const linked = await send(new DescribeEmailAddressCommand({ InstanceId, EmailAddressId: primary.EmailAddressId }));
check(linked.AliasConfigurations, [{ EmailAddressId: alias.EmailAddressId }]);
check(linked.DisplayName, "Grüße");

await send(
  new UpdateEmailAddressMetadataCommand({ InstanceId, EmailAddressId: alias.EmailAddressId, Description: "for help" }),
);
const found = [];
const criteria = { StringCondition: { FieldName: "EmailAddress", ComparisonType: "STARTS_WITH", Value: "js-" } };
let NextToken;
do {
  const page = await send(
    new SearchEmailAddressesCommand({ InstanceId, SearchCriteria: criteria, MaxResults: 1, NextToken }),
  );
  found.push(...page.EmailAddresses.map((address) => address.EmailAddress));
  NextToken = page.NextToken;
} while (NextToken);
check(found.sort(), ["js-queue@example.com", "js-support@example.com"]);

const resourceArn = primary.EmailAddressArn;
await send(new TagResourceCommand({ resourceArn, tags: { stage: "test" } }));
await send(new UntagResourceCommand({ resourceArn, tagKeys: ["team"] }));
check((await send(new ListTagsForResourceCommand({ resourceArn }))).tags, { stage: "test" });

await send(new DisassociateEmailAddressAliasCommand(link));
await refused(new DisassociateEmailAddressAliasCommand({ ...link, ClientToken: "other" }), ResourceNotFoundException);
await send(new DeleteEmailAddressCommand({ InstanceId, EmailAddressId: alias.EmailAddressId }));
await refused(
  new DescribeEmailAddressCommand({ InstanceId, EmailAddressId: alias.EmailAddressId }),
  ResourceNotFoundException,
);
await send(new DeleteInstanceCommand({ InstanceId }));
await refused(new DescribeInstanceCommand({ InstanceId }), ResourceNotFoundException);
console.log(`${passed} checks passed`);
