// TypeScript accepts these uses of the package, and refuses those below `@ts-expect-error`.
import { ConnectClient } from "@aws-sdk/client-connect";
import { type Attachment, type Mail, NoSuchMail, ServerRefused, startWaypost, type Waypost } from "waypost";

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
  try {
    await found.raw();
  } catch (error) {
    if (error instanceof NoSuchMail) return error.message;
    if (error instanceof ServerRefused) return error.status.toFixed();
  }

  // @ts-expect-error There is no such member.
  await waypost.waitFor({ recipient: "queue@example.com" });
  // @ts-expect-error The id cannot be set.
  waypost.instanceId = "";
  // @ts-expect-error A mail is not made by users.
  new Mail();
  return `${port} ${mails.length} ${found.receivedAt.toISOString()} ${attachments[0]?.content.length}`;
}
