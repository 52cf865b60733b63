#!/usr/bin/env python3
"""Writes the corpus that fuzzing begins with into fuzz/corpus: inputs that get somewhere, from which
the fuzzer goes on. What is there already stays.
    fuzz/seeds.py
"""
import struct
import zlib
from pathlib import Path

SMTP = [
    "EHLO c.test\r\nMAIL FROM:<a@c.test> SIZE=20 BODY=8BITMIME\r\nRCPT TO:<b@d.test> NOTIFY=FAILURE\r\n"
    "DATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n",
    "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\nBDAT 7\r\nx\r\n.\r\n\r\nBDAT 3 LAST\r\nx\r\nNOOP\r\n",
    "HELO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<@x.test:b@d.test>\r\nDATA\r\nx\n.\nMAIL FROM:<e@c.test>\r\n.\r\n",
    "LHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nx\r\n.\r\n",
    "EHLO c.test\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\nMAIL FROM:<\"a b\"@c.test> RET=HDRS ENVID=x+2B\r\nRSET\r\n",
    "EHLO c.test\r\nAUTH LOGIN\r\nYW5u\r\n*\r\nSTARTTLS\r\nEHLO c.test\r\nVRFY x\r\nHELP\r\n",
    "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\nDATA\r\nBcc: x\r\n y\r\nTo: z\r\n\r\nx\r.\r\n.\r\n",
]
CONTENT = [
    "Subject: x\r\n\r\nx\r\n.\r\n",
    "x\r\n.\nMAIL FROM:<e@c.test>\r\nRCPT TO:<e@d.test>\r\nDATA\r\nx\r\n.\r\n",
    "x\r.\r\n.\r\r\n.\r\n", "..\r\n...\r\n.\r\n", ".\r\n",
    "x\r\n.\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<c@d.test>\r\nBDAT 9 LAST\r\nx\r\n.\r\ny\r\n",
]
MIME = [
    "From: Ann <a@c.test>\nTo: b@d.test, \"B, c\" <c@d.test>\nCc: team: x@d.test, y@d.test;\nSubject: =?utf-8?q?tw=C3=B6?=\n"
    "Date: Tue, 2 Jan 2024 00:00:00 +0000\nMessage-ID: <1@c>\nReferences: <0@c> <1@c>\n"
    "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
    "pre\n--b\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\ngr=F6=DF\n"
    "--b\nContent-Type: application/pdf; name*0=a; name*1=.pdf\nContent-Transfer-Encoding: base64\n"
    "Content-Disposition: attachment; filename=a.pdf\n\nQUJD\n--b--\npost\n",
    "Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: in\n\ntext\n--d\nContent-Type: message/rfc822\n\n"
    "Content-Type: multipart/alternative; boundary=e\n\n--e\n\nx\n--e\nContent-Type: text/html\n\n<p>y</p>\n--e--\n\n--d--\n",
    "Subject: Re: [x] Fwd: (fwd) y\nFrom: gr\u00fcn@d.test\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n\u00e4\n",
    "Content-Type: multipart/signed; boundary=s; protocol=\"application/pgp-signature\"\n\n--s\n\n\u00e4\n--s\n"
    "Content-Type: application/pgp-signature\n\nx\n--s--\n",
    "Received: a\n by b\nReceived: c\nBcc: x,\n y\nTLS-Required: No\nAuthentication-Results: relay.test; spf=pass\n"
    "Authentication-Results: (x) \"relay.test\" 1; none\n\nbody\n",
    " \nAuthentication-Results: relay.test; spf=pass\n\nx\n", " From: a@c.test\n\nx\n",
    "From: a@c.test\nDKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=c.test; s=s1; h=from; bh=x; b=y\n"
    "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=c.test; s=s; b=x\nARC-Message-Signature: i=1; a=rsa-sha256; d=c.test; s=s; h=from; bh=x; b=x\n"
    "ARC-Authentication-Results: i=1; relay.test; spf=pass\n\n x \n\n\n",
    "List-Unsubscribe: <https://x.test/u>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\nFrom: a@gmail.com\nDate: now\n\n",
]
REPLIES = [
    "220 mx.test ESMTP\r\n250-mx.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 DSN\r\n250 2.1.0 ok\r\n250 2.1.5 ok\r\n"
    "452 4.5.3 later\r\n550 5.1.1 nobody\r\n354 go\r\n250 2.0.0 queued\r\n221 bye\r\n",
    "220-a\r\n220 b\r\n502 no\r\n250 c\r\n250\r\n250-x\n250 y\n554-5.7.1 no\r\n554 5.7.1 really\r\n",
    "421 4.3.2 bye\r\n", "220 x\r\n250 AUTH PLAIN LOGIN SCRAM-SHA-256\r\n550 4.7.1 odd\r\n", "2x0 y\r\n", "250-\r\n250 \r\n",
]
IMAP = [
    "c FETCH 1:* (FLAGS UID ENVELOPE BODYSTRUCTURE PREVIEW INTERNALDATE RFC822.SIZE)\r\nd FETCH 2 (BODY.PEEK[2.MIME] BINARY.PEEK[1] BODY[HEADER.FIELDS (SUBJECT TO)]<0.10>)\r\n",
    "c SEARCH RETURN (MIN MAX COUNT SAVE) OR SUBJECT one NOT BODY x\r\nd FETCH $ FLAGS\r\ne UID SEARCH CHARSET UTF-8 TEXT {2+}\r\ntw UID 1:*\r\n",
    "c STORE 1 +FLAGS.SILENT (\\Deleted $Word)\r\nd UID STORE 1:* (UNCHANGEDSINCE 1) FLAGS (\\Seen)\r\ne EXPUNGE\r\nf UID EXPUNGE 1:3\r\n",
    "c APPEND INBOX (\\Seen) \"01-Jan-2024 00:00:00 +0000\" {5+}\r\na\r\nb\r\nd APPEND INBOX {3+}\r\nx\r\n {3+}\r\ny\r\n\r\n",
    "c CREATE A/B (USE (\\Sent))\r\nd LIST (SUBSCRIBED) \"\" (\"*\" \"%/%\") RETURN (CHILDREN STATUS (MESSAGES UIDNEXT SIZE))\r\ne RENAME A C\r\nf DELETE C/B\r\ng SUBSCRIBE C\r\nh LSUB \"\" *\r\n",
    "c SORT (REVERSE DATE SUBJECT) UTF-8 ALL\r\nd THREAD REFERENCES UTF-8 ALL\r\ne UID THREAD ORDEREDSUBJECT UTF-8 ALL\r\nf SORT RETURN (COUNT) (ARRIVAL) UTF-8 UNSEEN\r\n",
    "c ENABLE CONDSTORE QRESYNC UTF8=ACCEPT\r\nd SELECT INBOX (QRESYNC (1 1 1:3 (1:2 1:2)))\r\ne FETCH 1:* (MODSEQ) (CHANGEDSINCE 1 VANISHED)\r\nf STATUS INBOX (HIGHESTMODSEQ APPENDLIMIT)\r\n",
    "c IDLE\r\nDONE\r\nd NOOP\r\ne CHECK\r\nf NAMESPACE\r\ng ID (\"name\" \"x\")\r\nh GETQUOTAROOT INBOX\r\ni UNSELECT\r\nj CAPABILITY\r\nk LOGOUT\r\n",
    "c COPY 1:* Sent\r\nd MOVE 1 Trash\r\ne UID COPY 1 INBOX\r\nf CLOSE\r\ng EXAMINE INBOX\r\n",
    "c AUTHENTICATE PLAIN\r\nAGFubgBzZWNyZXQ=\r\n", "-a AUTHENTICATE PLAIN AGFubkBvbmUudGVzdABzZWNyZXQ=\r\nb LOGIN {3}\r\nann {1}\r\nx\r\nc STARTTLS\r\n",
    "c COMPRESS DEFLATE\r\nx", "c FETCH 1 BODY[1.2.3.TEXT]\r\nd UID FETCH 4294967295:* ALL\r\ne FETCH 0 FLAGS\r\n",
]
POP3 = [
    "CAPA\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nTOP 1 0\r\nDELE 1\r\nRSET\r\nDELE 2\r\nNOOP\r\nLIST 3\r\nLAST\r\nQUIT\r\n",
    "AUTH PLAIN AGFubgBw\r\nSTAT\r\nRETR 9\r\nTOP 3 9999\r\nUIDL 2\r\nUTF8\r\nLANG *\r\nQUIT\r\n",
    "AUTH LOGIN\r\n*\r\nAPOP ann 0123456789abcdef0123456789abcdef\r\nUSER x\r\nPASS\r\n",
]
CONFIGURATION = [
    "hostname = \"relay.test\"\n[smtp]\ntrusted_networks = [\"127.0.0.0/8\", \"::1/128\"]\nmax_message_size = \"3MiB\"\n"
    "[[route]]\ndomain = \"*.d.test\"\nto = \"smtp://[::1]:26\"\ntls = \"verify\"\n[[route]]\ndomain = \"*\"\nto = \"reject\"\n",
    "[runtime]\ncores = [0, 2]\nmemory = \"1GiB\"\nspin = \"5us\"\n[[listener]]\nprotocol = \"imaps\"\nbind = [\"[::]:993\"]\nproxy_protocol = true\n"
    "[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n[queue]\nretry = [\"1m\", \"2h\"]\nexpire = \"5d\"\ndelay_notice = \"none\"\n",
    "hostnam = 1\n[dns]\nservers = [\"127.0.0.1:53\", 3]\n[dlivery]\nport = 70000\nsource = [\"::1\"]\ntls = \"always\"\n",
    "[control]\nbind = \"none\"\n[log]\nformat = \"json\"\nlevel = \"debug\"\n[mailboxes]\nquota = \"1GiB\"\n[auth]\nallow_plaintext = \"never\"\n[spool]\ndurability = \"none\"\n",
    "smtp.bare_line_ends = \"fix\"\nroute = [{ domain = \"d.test\", to = \"mailbox\" }]\n[delivery]\nfamilies = \"ipv4\"\n",
]
FILES = [
    "[alias]\n\"list@d.test\" = [\"ann@d.test\", \"b@d.test\"]\n\"@d.test\" = [\"ann@d.test\"]\n\"x@d.test\" = [\"list@d.test\", \"x@d.test\"]\n"
    "[user.\"ann@d.test\"]\npassword = \"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$x\"\nsenders = [\"*@e.test\"]\n"
    "[user.\"ann@d.test\".scram_sha_256]\niterations = 4096\nsalt = \"QUJD\"\nstored_key = \"QUJD\"\nserver_key = \"QUJD\"\n",
    "user = \"ann\"\npassword = \"x\"\n", "0123456789ABC", "ZZZZZZZZZZZZZ",
    "{\"from\":\"a@c.test\",\"to\":[\"b@d.test\"],\"notify\":[\"never\"],\"ret\":\"hdrs\"}\nSubject: x\r\n\r\nx\r\n",
]
POLICIES = [
    "version: STSv1\r\nmode: enforce\r\nmx: mx.d.test\r\nmx: *.e.test\r\nmax_age: 604800\r\n", "version: STSv1\nmode: none\nmax_age: 0\n",
    "v=STSv1; id=20240101T000000;", "v=TLSRPTv1; rua=mailto:r@d.test,https://d.test/r?x",
    "{\"id\":\"1\",\"fetched\":1000,\"mode\":\"testing\",\"max_age\":86400,\"mx\":[\"*.d.test\"]}",
]
TOKENS = [
    "{\"alg\":\"EdDSA\",\"kid\":\"k1\"}\n{\"iss\":\"https://id.c.test\",\"aud\":\"mail\",\"exp\":4102444800,\"email\":\"ann@c.test\"}\nx",
    "{\"alg\":\"none\"}\n{}\n", "{\"alg\":\"HS256\",\"kid\":\"k2\",\"crit\":[\"x\"]}\n{\"aud\":[\"mail\"],\"nbf\":1}\nx",
    "{\"keys\":[{\"kty\":\"oct\",\"k\":\"QUJD\"},{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\",\"d\":\"x\"}]}",
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n",
]
SASL = [
    "\x02\0ann@c.test\0a pencil", "\x42a@c.test\0ann@c.test\0x", "\x01n,,n=ann@c.test,r=abc\nc=biws,r=abcX,p=QUJD",
    "\x40p=tls-exporter,,n=ann@c.test,r=abc\nc=cD0=,r=abc,p=QUJD", "\x03ann@c.test\na pencil",
    "\x04n,a=ann@c.test,\x01auth=Bearer a.b.c\x01\x01\n\x01", "\x80r=abcdef,s=QUJDRA==,i=4096\nv=QUJD", "\xc0r=abcdef,s=QUJDRA==,i=1",
]
COMMANDS = [
    "MAIL FROM:<a@c.test> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+2B AUTH=<> REQUIRETLS MT-PRIORITY=-4", "MAIL FROM:<>", "EHLO [IPv6:::1]",
    "RCPT TO:<\"a b\\\"c\"@d.test> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;b+2B@d.test", "RCPT TO:<postmaster>", "RCPT TO:<@x,@y:b@[192.0.2.1]>",
    "BDAT 10 LAST", "AUTH PLAIN =", "AUTH SCRAM-SHA-256 biwsbj1h", "MAIL FROM:<\u00e4@\u00fc.test> SMTPUTF8", "RCPT TO:<x@d.test> ORCPT=utf-8;\\x{e4}@d.test",
]
RETURNED = [
    "From: MAILER-DAEMON@d.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nno\r\n--b\r\n"
    "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; d.test\r\n\r\nOriginal-Recipient: rfc822;b@d.test\r\nFinal-Recipient: rfc822; c@e.test\r\n"
    "Action: failed (x)\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1\r\n no\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\nTo: b@d.test\r\n--b--\r\n",
    "Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nVersion: 0.1\r\n"
    "Original-Mail-From: <b+x@r.test>\r\nOriginal-Rcpt-To: b@d.test\r\nIncidents: 3\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nReturn-Path: <b+x@r.test>\r\n\r\nx\r\n--b--\r\n",
    "X-Failed-Recipients: b@d.test\r\n\r\nRemote host said: 550 no user\r\n", "Auto-Submitted: auto-replied\r\n\r\nI am away.\r\n",
]
PROXY = [
    b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\nEHLO x\r\n", b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n", b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x12\x67\0\x19EHLO", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24" + bytes(36),
]
FOLDERS = ["INBOX", "A/B", "Entw&APw-rfe", "a&-b", "Entw\u00fcrfe/\U0001f600", "..", "a.b", "~x", "&2D3eAA-"]
ADDRESSES = ["a@c.test", "\"a b\\\"@\"@d.test", "x@[IPv6:2001:db8::1]", "\u00e4@\u00fc.test", "@a,@b:c@d.test", "a..b@d_.test", "x@[192.0.2.1]"]
# First how a file is damaged, then with what.
INDEX = [b"", b"\x10RPX", b"\x00\x10\x00\x08" + b"\xff" * 8, b"\x20", b"\xd03 V1 N5\n1 :x\n", b"\x50[special_use]\n",
         bytes(range(48)), b"\x00\x40\x00\x08" + bytes(8) + b"\x00\x01\x10" + b"\x00" * 16]
SPOOL = [b"\x00\x00\x30\x00\x04abcd", b"\x81RINGPOST", b"\x00\x01\x00\x00\x30" + b"\0" * 48, b"\x80", b"\x00\x00\x40\x01\x10" + b"\xff" * 16]
SEEDS = {
    "addresses": ADDRESSES, "commands": COMMANDS, "configuration": CONFIGURATION, "dot": CONTENT, "downgrade": MIME,
    "files": FILES, "folder_name": FOLDERS, "headers": MIME, "imap_commands": IMAP, "imap_frame": IMAP, "imap_message": MIME,
    "mailbox_index": INDEX, "policies": POLICIES, "pop3": POP3, "preflight": MIME, "proxy": PROXY, "replies": REPLIES,
    "returned": RETURNED,
    "retrieval": IMAP + ["+" + one for one in POP3], "sasl": SASL, "signatures": MIME + ["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "v=DMARC1; p=reject; rua=mailto:x@c.test", "v=spf1 ip4:192.0.2.0/24 include:x.test -all"],
    "smtp_client": REPLIES, "smtp_server": SMTP, "smuggling": CONTENT, "spool_recovery": SPOOL, "token": TOKENS,
}

corpus = Path(__file__).parent / "corpus"
for target, seeds in SEEDS.items():
    (corpus / target).mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        octets = seed if isinstance(seed, bytes) else seed.encode("utf-8" if target != "sasl" else "latin-1")
        (corpus / target / f"seed-{zlib.crc32(octets):08x}").write_bytes(octets)
