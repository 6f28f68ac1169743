/** The settings of `waypost serve`, such as `{limits: "aws", maxMessageSize: "1MB"}`. */
export type Settings = Record<string, string | number | boolean>;

export interface StartOptions {
  /**
   * The command `waypost`, or a list of a program and its first arguments, such as `["python3", "-m", "waypost"]`.
   * By default, the environment variable `WAYPOST_COMMAND`, and otherwise `waypost`, which must be in `PATH`.
   */
  command?: string | readonly string[];
  /** Settings, by their names with or without hyphens. */
  settings?: Settings;
}

/**
 * Starts a server on free ports of 127.0.0.1, with a temporary directory, and waits until it is ready. The server ends,
 * and removes its directory, when `stop` is called or when this process ends for any reason.
 *
 * @throws ServerDied, with the server's log.
 */
export function startWaypost(options?: StartOptions): Promise<Waypost>;

/** A running server. */
export class Waypost {
  private constructor();
  /** The version of the server. */
  readonly version: string;
  /** The id of the server's process. */
  readonly pid: number;
  /** Where the server accepts mail, for example for `nodemailer.createTransport(waypost.smtp)`. */
  readonly smtp: { readonly host: string; readonly port: number };
  /** The configuration of an AWS SDK client, for `new ConnectClient(waypost.connectConfig)`. */
  readonly connectConfig: {
    readonly endpoint: string;
    readonly region: string;
    readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  };
  /**
   * Environment variables with which AWS SDKs for JavaScript use the server, for
   * `Object.assign(process.env, waypost.environment)`, and `WAYPOST_INSTANCE_ID`. After `reset`, assign them again.
   */
  readonly environment: Readonly<Record<string, string>>;
  /** The `InstanceId` for calls of the Amazon Connect API. `reset` changes it. */
  readonly instanceId: string;
  /** The end of the server's log. */
  readonly log: string;

  /**
   * Returns the mail of an email address, the oldest first.
   *
   * @throws ServerRefused if the address does not exist.
   */
  inbox(address: string): Promise<Mail[]>;
  /**
   * Returns the oldest mail that fits, of any address, as soon as it is there. It may have arrived before the call.
   *
   * @throws NoSuchMail after `timeoutMs` milliseconds (by default 10,000), with what has arrived, and what was refused.
   */
  waitFor(wanted: Wanted | Predicate, options?: { timeoutMs?: number }): Promise<Mail>;
  /**
   * Moves the virtual clock forward, such as `"5d"`, and returns the new time. All deliveries that became due have been
   * attempted then. The server must not have the setting `clock: "real"`.
   */
  advance(by: string): Promise<Date>;
  /** Deletes everything that was made since the start: mail, email addresses, links, routes, instances, access keys. */
  reset(): Promise<void>;
  /** Stops the server, and removes its data. */
  stop(): Promise<void>;
  /** The same as `stop`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

export type Predicate = (mail: Mail) => boolean | Promise<boolean>;

/** A string that must be equal (the content must contain it), or a regular expression that must match somewhere. */
export type Pattern = string | RegExp;

/** The mail that a test waits for. All given members must fit. Email addresses are compared without regard to case. */
export interface Wanted {
  address?: Pattern;
  from?: Pattern;
  to?: Pattern;
  /** `null` for mail that did not come through an alias. */
  via?: Pattern | null;
  subject?: Pattern;
  reason?: Pattern;
  status?: Pattern;
  text?: Pattern;
  html?: Pattern;
}

/**
 * One message for one email address. A message for two addresses, or for an alias and its primary, is two objects with
 * the same `id`. The methods read the content from the server. They throw `ServerRefused` with the status 404 if it has
 * none, because the mail was sent over a route without a copy, or was deleted.
 */
export class Mail {
  private constructor();
  /** The id of the message, the same as in the server's `250` reply. */
  readonly id: string;
  readonly deliveryId: string;
  /** The email address that has the mail. */
  readonly address: string;
  /** The decoded subject. */
  readonly subject: string;
  /** The envelope sender; empty for the null sender. */
  readonly from: string;
  /** The recipient as the sender wrote it: the email address, or its alias. */
  readonly to: string;
  readonly reason: "direct" | "forwarded" | "notice" | "returned";
  /** The alias through which the mail was forwarded; `null` if the address was addressed directly. */
  readonly via: string | null;
  /** The status when this object was made. */
  readonly status: "delivered" | "queued" | "dead";
  /** When the server accepted the message, by the server's clock. */
  readonly receivedAt: Date;
  /** The size of the message in bytes, without the lines that Waypost adds. */
  readonly size: number;

  /** The text that a mail program shows, with LF line ends, without white space at its end. */
  text(): Promise<string>;
  /** The HTML as the sender wrote it, with LF line ends, without white space at its end; empty if there is none. */
  html(): Promise<string>;
  attachments(): Promise<Attachment[]>;
  /** The exact bytes that were delivered: Waypost's trace lines, and the bytes that the sender sent. */
  raw(): Promise<Buffer>;
  /** Everything that happened to the message up to now, in chronological order. */
  trace(): Promise<TraceEvent[]>;
}

export interface Attachment {
  /** The name of the file; empty if the message gives none. */
  filename: string;
  /** The media type in lower case, such as `application/pdf`. */
  contentType: string;
  /** The decoded content. */
  content: Buffer;
}

/** Something that happened to a message. Waypost's documentation of the inspection API lists the kinds of events. */
export interface TraceEvent {
  event: string;
  at: string;
  [detail: string]: unknown;
}

/** The expected mail did not arrive in time. The message says what did arrive, and what was refused. */
export class NoSuchMail extends Error {}

/** There is no such command, or the server has ended or does not answer. The message has the end of its log. */
export class ServerDied extends Error {}

/** The server refused a request, for example because the email address does not exist. The message says why. */
export class ServerRefused extends Error {
  /** The HTTP status, such as 404. */
  readonly status: number;
}
