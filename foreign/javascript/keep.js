// A Haraka plugin that accepts every recipient and stores each message as a file in the directory that KEPT names.
const fs = require("node:fs");
let count = 0;

exports.hook_rcpt = (next) => next(OK);

exports.hook_queue = (next, connection) => {
  const path = `${process.env.KEPT}/${process.pid}-${(count += 1)}`;
  const file = fs.createWriteStream(path + ".part");
  file.on("finish", () => {
    fs.renameSync(path + ".part", path);
    next(OK, "kept");
  });
  connection.transaction.message_stream.pipe(file, { dot_stuffed: true, line_endings: "\r\n" });
};
