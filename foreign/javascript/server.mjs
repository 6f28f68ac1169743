// Runs a mail server with npm's smtp-server on a free port: node server.mjs DIRECTORY smtp|lmtp. The package is in the
// directory that FOREIGN names. The server prints its port, and stores each message as a file.
import { createRequire } from "node:module";
import { createWriteStream, renameSync } from "node:fs";

const require = createRequire(process.env.FOREIGN + "/");
const { SMTPServer } = require("smtp-server");
const [directory, protocol] = process.argv.slice(2);
let count = 0;

const server = new SMTPServer({
  lmtp: protocol === "lmtp",
  name: "next-hop.example",
  authOptional: true,
  disabledCommands: ["STARTTLS"],
  onData(stream, session, callback) {
    const path = `${directory}/${(count += 1)}`;
    stream.pipe(createWriteStream(path + ".part")).on("finish", () => {
      renameSync(path + ".part", path);
      callback(null, protocol === "lmtp" ? session.envelope.rcptTo.map(() => "kept") : "kept");
    });
  },
});
server.on("error", (error) => console.error(error.message));
const listening = server.listen(0, "127.0.0.1", () => console.log(listening.address().port));
