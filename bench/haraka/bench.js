// A Haraka plugin that accepts every recipient. It relays mail for alias@relay.example in two copies to the port of
// 127.0.0.1 in config/next_hop, and discards all other mail.
const RELAYED = "relay.example";

exports.hook_rcpt = (next, connection) => next(OK);

exports.hook_data_post = (next, connection) => {
  const recipients = connection.transaction.rcpt_to;
  if (recipients[0].host === RELAYED) {
    connection.relaying = true;
    const { Address } = require("@haraka/email-address");
    recipients.push(new Address(`<primary@${RELAYED}>`));
  }
  next();
};

exports.hook_queue = (next) => next(OK, "discarded");

exports.hook_get_mx = function (next) {
  next(OK, { priority: 0, exchange: "127.0.0.1", port: Number(this.config.get("next_hop")) });
};
