// TypeScript accepts these uses of the package, and refuses those below `@ts-expect-error`.
import { ConnectClient } from "@aws-sdk/client-connect";
import { type Attachment, type Mail, NoSuchMail, startWaypost, type Waypost } from "waypost";

export async function uses(): Promise<string> {
  const waypost: Waypost = await startWaypost({ command: ["python3", "-m", "waypost"], settings: { limits: "aws" } });
  new ConnectClient(waypost.connectConfig);
  const port: number = waypost.smtp.port;
  const mails: Mail[] = await waypost.inbox("queue@example.com");
  const found: Mail = await waypost.waitFor({ subject: /order/, via: null }, { timeoutMs: 5000 });
  await waypost.waitFor(async (mail) => (await mail.text()).includes("order"));
  const attachments: Attachment[] = await found.attachments();
  await waypost.reset();
  await waypost.stop();
  if (found instanceof NoSuchMail) return found.message;

  // @ts-expect-error There is no such member.
  await waypost.waitFor({ recipient: "queue@example.com" });
  // @ts-expect-error The id cannot be set.
  waypost.instanceId = "";
  // @ts-expect-error A mail is not made by users.
  new Mail();
  return `${port} ${mails.length} ${found.receivedAt.toISOString()} ${attachments[0]?.content.length}`;
}
