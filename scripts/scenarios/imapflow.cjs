// What a program with the imapflow package does in a day: node imapflow.cjs PACKAGES HOST PORT USER PASSWORD
// Prints what it saw as one JSON object.
"use strict";
const { createRequire } = require("node:module");
const [packages, host, port, user, pass] = process.argv.slice(2);
const { ImapFlow } = createRequire(`${packages}/package.json`)("imapflow");

const text = (stream) => new Promise((resolve, reject) => {
  const chunks = [];
  stream.on("data", (chunk) => chunks.push(chunk));
  stream.on("end", () => resolve(Buffer.concat(chunks).toString()));
  stream.on("error", reject);
});
const client = () => new ImapFlow({ host, port: Number(port), secure: false, auth: { user, pass }, tls: { rejectUnauthorized: false },
  logger: false, qresync: true });

async function main() {
  const seen = {};
  const one = client();
  await one.connect();
  seen.secure = one.secureConnection;
  seen.compressed = Boolean(one._inflate);
  seen.enabled = [...one.enabled].sort();
  seen.sent = (await one.mailboxCreate(["Projects", "Zürich"])).path;
  seen.folders = (await one.list()).map((folder) => [folder.path, folder.specialUse || ""]);
  const letter = (number) => Buffer.from(
    `From: "A, B" <a@c.test>\r\nTo: ann@c.test\r\nSubject: =?utf-8?q?num=C3=A9ro_${number}?=\r\nMessage-ID: <${number}@flow>\r\n` +
    `Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhällo ${number}\r\n--x\r\n` +
    `Content-Type: application/octet-stream; name=a.bin\r\nContent-Disposition: attachment; filename=a.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n` +
    `${Buffer.from(`content ${number}`).toString("base64")}\r\n--x--\r\n`);
  let lock = await one.getMailboxLock("INBOX");
  for (let number = 1; number <= 5; number++) seen.appended = await one.append("INBOX", letter(number), number % 2 ? ["\\Seen"] : ["$Flow"]);
  delete seen.appended.destination;
  seen.exists = (await one.status("INBOX", { messages: true, unseen: true, uidNext: true, highestModseq: true })).messages;
  seen.envelopes = (await one.fetchAll("1:*", { envelope: true, bodyStructure: true, flags: true, uid: true, size: true }))
    .map((message) => [message.uid, message.envelope.subject, message.envelope.from[0].name, message.bodyStructure.childNodes.length,
      [...message.flags].filter((flag) => flag !== "\\Recent")]);
  seen.source = (await one.fetchOne("2", { source: true })).source.equals(letter(2));
  seen.attachment = await text((await one.download("3", "2")).content);
  seen.body = await text((await one.download("3", "1")).content);
  seen.found = await one.search({ subject: "numéro", unKeyword: "$Flow", body: "hällo" }, { uid: true });
  await one.messageFlagsAdd("1:2", ["\\Flagged"]);
  seen.flagged = await one.search({ flagged: true });
  const moved = await one.messageMove("5", "Projects/Zürich", { uid: true });
  seen.moved = [...moved.uidMap];
  const copied = await one.messageCopy("1:2", "Projects/Zürich", { uid: true });
  seen.copied = [...copied.uidMap];
  await one.messageDelete("4", { uid: true });
  seen.left = await one.search({ all: true }, { uid: true });
  // One idles while the other appends and deletes.
  const other = client();
  await other.connect();
  const heard = [];
  one.on("exists", (event) => heard.push(["exists", event.count]));
  one.on("expunge", (event) => heard.push(["expunge", event.seq || event.uid]));
  one.on("flags", (event) => heard.push(["flags", event.seq || event.uid, [...event.flags].sort()]));
  const idle = one.idle();
  await new Promise((resolve) => setTimeout(resolve, 300));
  await other.append("INBOX", letter(6));
  let there = await other.getMailboxLock("INBOX");
  await other.messageFlagsAdd("2", ["$Seen6"], { uid: true });
  await other.messageDelete("1", { uid: true });
  there.release();
  for (let waited = 0; waited < 10000 && heard.length < 3; waited += 50) await new Promise((resolve) => setTimeout(resolve, 50));
  await one.noop(); // ends IDLE
  await idle;
  seen.heard = [...new Set(heard.map((event) => event[0]))].sort();
  seen.quota = await one.getQuota("INBOX");
  lock.release();
  await one.mailboxRename("Projects/Zürich", "Projects/Genève");
  seen.renamed = (await one.list()).map((folder) => folder.path).filter((path) => path.startsWith("Projects"));
  await one.mailboxDelete("Projects/Genève");
  await other.logout();
  await one.logout();
  console.log(JSON.stringify(seen, (_, value) => (typeof value === "bigint" ? Number(value) : value)));
}
main().catch((error) => {
  console.error(error.stack, error.response || "", error.responseText || "");
  process.exit(1);
});
