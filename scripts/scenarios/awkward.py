"""Awkward messages, the same at every run: {name: octets as they lie in a Maildir, with LF line ends}."""
import base64

HEAD = b"From: a@c.test\nTo: b@d.test\nDate: Mon, 23 Nov 2026 11:00:13 +0000\nSubject: s\n"
MIME = HEAD + b"MIME-Version: 1.0\n"


def multipart(boundary, *parts, kind=b"mixed", parameters=b"", preamble=b"", epilogue=b"", close=True):
    """An entity from its Content-Type on."""
    whole = b'Content-Type: multipart/%s; boundary="%s"%s\n\n%s' % (kind, boundary, parameters, preamble)
    for part in parts:
        whole += b"--%s\n%s\n" % (boundary, part)
    return whole + (b"--%s--\n%s" % (boundary, epilogue) if close else b"")


def entity(kind, body, more=b""):
    return b"Content-Type: %s\n%s\n%s" % (kind, more, body)


def nested(depth, leaf=b"\nleaf", kind=b"mixed"):
    for level in range(depth):
        leaf = multipart(b"b%d" % level, leaf, kind=kind)
    return leaf


def enclosed(depth):
    inner = HEAD + b"\ninnermost\n"
    for level in range(depth):
        inner = MIME + b"X-Level: %d\n" % level + entity(b"message/rfc822", inner)
    return inner


def structures():
    plain, html = entity(b"text/plain", b"one\n"), entity(b"text/html", b"<p>two</p>\n")
    yield "two parts", multipart(b"x", plain, html)
    for kind in (b"alternative", b"related", b"digest", b"signed", b"report", b"parallel", b"encrypted", b"form-data", b"x-odd"):
        yield f"multipart/{kind.decode()}", multipart(b"x", plain, html, kind=kind)
    for depth in (2, 3, 5, 20, 60):
        yield f"{depth} deep", nested(depth)
    yield "deep, then wide", multipart(b"top", nested(3), nested(2), plain)
    yield "a digest of messages", multipart(b"x", b"\n" + HEAD + b"\nfirst\n", b"\nSubject: second\n\nbody\n", kind=b"digest")
    yield "a digest with a text", multipart(b"x", b"\n" + HEAD + b"\nfirst\n", plain, kind=b"digest")
    for depth in (1, 2, 4):
        yield f"a message in a message, {depth} deep", entity(b"message/rfc822", enclosed(depth - 1))
    yield "a message with parts in a part", multipart(b"x", plain, entity(b"message/rfc822", MIME + multipart(b"y", plain, html)))
    yield "a message with parts in a message", entity(b"message/rfc822", MIME + multipart(b"y", plain, html))
    yield "a message in base64", entity(b"message/rfc822", base64.encodebytes(HEAD + b"\nbody\n"), b"Content-Transfer-Encoding: base64\n")
    yield "a message that is empty", entity(b"message/rfc822", b"")
    yield "a message without header", entity(b"message/rfc822", b"\nbody alone\n")
    yield "a message without body", entity(b"message/rfc822", b"Subject: header alone\n")
    yield "message/partial", entity(b'message/partial; id="x@y"; number=1; total=2', HEAD + b"\nhalf\n")
    yield "message/external-body", entity(b"message/external-body; access-type=URL; url=\"http://c.test/\"", b"Content-Type: image/gif\n\n")
    yield "message/global", entity(b"message/global", "Subject: tö\n\nbody\n".encode())
    yield "message/delivery-status", multipart(b"x", plain, entity(b"message/delivery-status", b"Reporting-MTA: dns; c.test\n\nAction: failed\n"),
                                               entity(b"text/rfc822-headers", HEAD), kind=b"report", parameters=b"; report-type=delivery-status")
    yield "message/disposition-notification", entity(b"message/disposition-notification", b"Final-Recipient: rfc822;b@d.test\n")
    yield "a boundary that begins another", multipart(b"ab", multipart(b"a", plain, html), plain)
    yield "a boundary that another begins", multipart(b"a", multipart(b"ab", plain, html), plain)
    yield "a boundary with dashes at its end", multipart(b"a--", plain, html)
    yield "a boundary of dashes", multipart(b"----", plain, multipart(b"------", plain))
    yield "the same boundary inside", multipart(b"x", multipart(b"x", plain, html), plain)
    yield "a boundary of 70", multipart(b"y" * 70, plain, html)
    yield "a boundary of 200", multipart(b"y" * 200, plain, html)
    yield "a boundary with spaces", multipart(b"a b c", plain, html)
    yield "a boundary with odd characters", multipart(b"=_(')+,-./:?", plain, html)
    yield "a boundary that ends in a space", b'Content-Type: multipart/mixed; boundary="x "\n\n--x \n\none\n--x --\n'
    yield "a boundary without quotes", b"Content-Type: multipart/mixed; boundary=x.y=z\n\n--x.y=z\n\none\n--x.y=z--\n"
    yield "white space behind boundaries", b"Content-Type: multipart/mixed; boundary=x\n\n--x \t\n\none\n--x-- \t\n"
    yield "text behind a boundary", b"Content-Type: multipart/mixed; boundary=x\n\n--xyz\n\nnot a part\n--x\n\none\n--x--\n"
    yield "text behind the last boundary", b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\none\n--x--yz\nepilogue\n"
    yield "a boundary in upper case", b"Content-Type: multipart/mixed; boundary=x\n\n--X\n\nno part\n--x\n\none\n--x--\n"
    yield "no boundary", b"Content-Type: multipart/mixed\n\n--x\n\none\n--x--\n"
    yield "an empty boundary", b'Content-Type: multipart/mixed; boundary=""\n\n--\n\none\n----\n'
    yield "a boundary that never comes", b"Content-Type: multipart/mixed; boundary=x\n\ntext\n"
    yield "a boundary that comes and ends", b"Content-Type: multipart/mixed; boundary=x\n\n--x--\n"
    yield "no last boundary", multipart(b"x", plain, html, close=False)
    yield "no last boundary inside", multipart(b"out", multipart(b"in", plain, html, close=False), plain)
    yield "no last boundary, cut in a header", multipart(b"x", plain, close=False) + b"--x\nContent-Type: text/ht"
    yield "no last boundary, cut in a boundary", multipart(b"x", plain, close=False) + b"--"
    yield "a preamble and an epilogue", multipart(b"x", plain, preamble=b"before\n", epilogue=b"after\n")
    yield "no line end behind the last boundary", multipart(b"x", plain).rstrip(b"\n")
    yield "an epilogue with a boundary", multipart(b"x", plain, epilogue=b"--x\n\nmore\n--x--\n")
    yield "an empty part", multipart(b"x", b"", b"\n", plain)
    yield "parts without line between", b"Content-Type: multipart/mixed; boundary=x\n\n--x\n--x\n\n--x\n\n\n--x--\n"
    yield "a part without empty line", multipart(b"x", b"Content-Type: text/html", plain)
    yield "a part that is text at once", multipart(b"x", b"this is no header\nand this neither")
    yield "a part with an empty multipart", multipart(b"x", b"Content-Type: multipart/mixed; boundary=y\n\n", plain)
    yield "a header ends with a boundary", b"Content-Type: multipart/mixed; boundary=x\n--x\n\none\n--x--\n"
    yield "two types", b"Content-Type: text/plain\n" + multipart(b"x", plain)
    yield "two types, the other first", b"Content-Type: multipart/mixed; boundary=x\nContent-Type: text/plain\n\n--x\n\none\n--x--\n"
    yield "300 parts", multipart(b"x", *(entity(b"text/plain; n=%d" % n, b"%d" % n) for n in range(300)))
    yield "10,000 parts", multipart(b"x", *[b"\np"] * 10_000)
    yield "a multipart in quoted-printable", multipart(b"x", plain).replace(b"\n\n", b"\nContent-Transfer-Encoding: quoted-printable\n\n", 1)
    yield "a multipart in base64", multipart(b"x", plain).replace(b"\n\n", b"\nContent-Transfer-Encoding: base64\n\n", 1)


TYPES = {
    "upper case": b"TEXT/HTML; CHARSET=UTF-8", "no subtype": b"text", "a slash alone": b"/", "an empty field": b"",
    "two slashes": b"text/plain/x", "a comment": b"text/plain (a comment); charset=utf-8", "spaces": b"text / html ; charset = utf-8",
    "a semicolon at the end": b"text/plain; charset=utf-8;", "semicolons": b"text/plain;; ;charset=utf-8", "no value": b"text/plain; charset=",
    "no equal sign": b"text/plain; charset", "an empty value": b'text/plain; charset=""', "an open quote": b'text/plain; charset="utf-8',
    "escapes": b'text/plain; name="a\\"b\\\\c"', "twice the same": b"text/plain; name=a; name=b", "a word behind": b"text/plain charset=utf-8",
    "folded": b"text/plain;\n\tcharset=utf-8;\n name=x", "8 bits": "text/plain; name=ö.txt".encode(), "latin-1": b"text/plain; name=\xf6.txt",
    "an encoded word": b'text/plain; name="=?utf-8?q?=C3=B6?="', "2231": b"text/plain; name*=utf-8'de'%C3%B6.txt",
    "2231 in pieces": b"text/plain; name*0=a; name*1=b; name*2=c", "2231 out of order": b"text/plain; name*1=b; name*0=a",
    "2231 with a gap": b"text/plain; name*0=a; name*2=c", "2231 mixed": b"text/plain; name*0*=utf-8''%C3; name*1*=%B6; name*2=.txt",
    "2231 and plain": b"text/plain; name=plain; name*=utf-8''%C3%B6", "2231 without charset": b"text/plain; name*=''%41",
    "2231 bad": b"text/plain; name*=utf-8''%ZZ", "2231 from one": b"text/plain; name*1=a; name*2=b", "a star alone": b"text/plain; name*=plain",
    "fifty parameters": b"text/plain" + b"".join(b"; p%d=v%d" % (n, n) for n in range(50)), "an unknown type": b"x-odd/x-thing",
    "a quote in a token": b"text/plain; name=a\"b", "an 8-bit type": "tëxt/plain".encode(), "special characters": b"text/plain; name=a@b[c]",
    "a value with spaces": b"text/plain; name=two words; x=y", "a very long value": b'text/plain; name="' + b"n" * 5000 + b'"',
    "a tab": b"text/plain;\tname=a", "a newline in quotes": b'text/plain; name="a\n b"', "a slash in a value": b"text/plain; name=a/b",
    "no space": b"text/plain;name=a;charset=us-ascii", "a comment in a parameter": b"text/plain; name=(c)a", "a number": b"text/plain; 1=2",
}

FIELDS = {
    "everything": b"Content-ID: <i@d>\nContent-Description: what it is\nContent-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\nContent-Disposition: attachment; filename=a\n"
                  b"Content-Language: en, de\nContent-Location: http://c.test/a\nContent-Transfer-Encoding: 7bit\n",
    "an id without brackets": b"Content-ID: i@d\n", "an empty id": b"Content-ID:\n", "an id with a comment": b"Content-ID: (c) <i@d>\n",
    "a description encoded": b"Content-Description: =?utf-8?q?tw=C3=B6?=\n", "a description of 8 bits": "Content-Description: zwö\n".encode(),
    "a description folded": b"Content-Description: one\n two\n", "an empty description": b"Content-Description: \n",
    "inline": b"Content-Disposition: inline\n", "an odd disposition": b"Content-Disposition: x-odd; a=b; c\n", "a disposition with no word": b"Content-Disposition: ; filename=a\n",
    "a disposition 2231": b"Content-Disposition: attachment; filename*0*=utf-8''%C3%B6; filename*1=b.txt; size=10\n",
    "a disposition encoded": b'Content-Disposition: attachment; filename="=?utf-8?b?w7Y=?="\n', "an empty disposition": b"Content-Disposition:\n",
    "one language": b"Content-Language: en\n", "three languages": b"Content-Language: en, de-AT,fr\n", "an empty language": b"Content-Language:\n",
    "a language with a comment": b"Content-Language: en (English)\n", "a location folded": b"Content-Location: http://c.test/\n a\n b\n", "an encoding in upper case": b"Content-Transfer-Encoding: BASE64\n",
    "an encoding with a comment": b"Content-Transfer-Encoding: (c) base64\n", "an unknown encoding": b"Content-Transfer-Encoding: x-uuencode\n",
    "an empty encoding": b"Content-Transfer-Encoding:\n", "an encoding of two words": b"Content-Transfer-Encoding: quoted printable\n", "an encoding with a semicolon": b"Content-Transfer-Encoding: 8bit;\n",
    "two encodings": b"Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n", "no version": b"", "a digest of two words": b"Content-MD5: a b\n",
}

ADDRESSES = {
    "plain": b"a@c.test", "angles": b"<a@c.test>", "a name": b"A B <a@c.test>", "a quoted name": b'"B, A" <a@c.test>', "a name with a dot": b"A. B <a@c.test>",
    "two": b"a@c.test, b@d.test", "a comment for a name": b"a@c.test (A B)", "comments all over": b"(c) A (d) B (e) <a@(f)c.test (g)> (h)", "nested comments": b"a@c.test (A (B) C)",
    "a group": b"friends: a@c.test, B <b@d.test>;", "an empty group": b"undisclosed-recipients:;", "a group and one": b"g: a@c.test; , b@d.test", "two groups": b"g: a@c.test;, h: b@d.test;",
    "a group that does not end": b"g: a@c.test", "a group in a group": b"g: h: a@c.test;;", "a route": b"<@x.test,@y.test:a@c.test>", "a quoted local part": b'"a b"@c.test', "an escaped local part": b'"a\\"b"@c.test',
    "no domain": b"a", "no domain in angles": b"<a>", "an empty path": b"<>", "a name and an empty path": b"A <>", "nothing": b"", "commas": b", ,a@c.test,,", "no bracket at the end": b"A <a@c.test",
    "no bracket at the beginning": b"A a@c.test>", "two at signs": b"a@b@c.test", "an at sign at the end": b"a@", "an at sign at the beginning": b"@c.test", "an address literal": b"a@[192.0.2.1]", "spaces around": b"a @ c . test",
    "a semicolon for a comma": b"a@c.test; b@d.test", "an encoded name": b"=?utf-8?q?J=C3=B6?= <a@c.test>", "an encoded name in quotes": b'"=?utf-8?q?J=C3=B6?=" <a@c.test>', "a name of 8 bits": "Jö <a@c.test>".encode(), "a name in latin-1": b"J\xf6 <a@c.test>",
    "an address of 8 bits": "jö@c.test".encode(), "folded": b"A\n B\n\t<a@c.test>", "a hundred": b", ".join(b"a%d@c.test" % n for n in range(100)), "a quote that does not end": b'"A <a@c.test>', "a comment that does not end": b"a@c.test (A",
    "an empty name": b'"" <a@c.test>', "a name with escapes": b'"A \\"B\\" \\\\" <a@c.test>', "a tab in the name": b"A\tB <a@c.test>", "an encoded comment": b"a@c.test (=?utf-8?q?J=C3=B6?=)", "no comma between": b"a@c.test b@d.test",
    "two in angles": b"A <a@c.test> <b@d.test>", "a long name": b"N" * 2000 + b" <a@c.test>", "a colon in the name": b"A: B <a@c.test>", "a dot at the end": b"a.@c.test", "a domain with a dot at the end": b"a@c.test.", "a newline in quotes": b'"A\n B" <a@c.test>',
}

SUBJECTS = {
    "encoded": b"=?utf-8?q?tw=C3=B6?=", "base64": b"=?utf-8?b?dHfDtg==?=", "two words": b"=?utf-8?q?a?= =?utf-8?q?b?=", "two words folded": b"=?utf-8?q?a?=\n =?utf-8?q?b?=", "latin-1 encoded": b"=?iso-8859-1?q?tw=F6?=",
    "split in a character": b"=?utf-8?q?=C3?= =?utf-8?q?=B6?=", "a bad charset": b"=?x-none?q?a?=", "an open word": b"=?utf-8?q?a", "a language": b"=?utf-8*en?q?a?=", "no space before": b"x=?utf-8?q?a?=", "underscores": b"=?utf-8?q?a_b?=",
    "bad base64": b"=?utf-8?b?%%%?=", "8 bits": "zwö".encode(), "latin-1": b"zw\xf6", "folded": b"a\n b\n\tc", "folded to nothing": b"\n \n a", "empty": b"", "spaces": b"   ", "long": b"w " * 3000, "a long word": b"w" * 3000, "a tab": b"a\tb", "quotes": b'"a" \\ b',
    "re": b"Re: s", "re twice": b"Re: re: s", "re in brackets": b"Re[2]: s", "a list": b"[list] Re: s", "fwd": b"Fwd: s (fwd)", "fwd in brackets": b"[Fwd: s]", "re encoded": b"=?utf-8?q?Re=3A_s?=", "re alone": b"Re:", "a list alone": b"[list]", "koi8-r": b"=?koi8-r?b?8NLJ18XU?=",
    "iso-2022-jp": b"=?iso-2022-jp?b?GyRCRnxLXDhsGyhC?=", "gb2312": b"=?gb2312?b?1tDOxA==?=", "utf-7": b"=?utf-7?q?+AOQ-?=", "trailing spaces": b"s   ", "control characters": b"a\x01\x7fb", "a question mark": b"=?utf-8?q?a?b?=",
}

DATES = {
    "no day": b"23 Nov 2026 11:00:13 +0000", "two digits": b"Mon, 23 Nov 26 11:00:13 +0000", "99": b"Tue, 23 Nov 99 11:00:13 +0000", "three digits": b"Mon, 23 Nov 126 11:00:13 +0000", "no seconds": b"Mon, 23 Nov 2026 11:00 +0000",
    "EST": b"Mon, 23 Nov 2026 11:00:13 EST", "GMT": b"Mon, 23 Nov 2026 11:00:13 GMT", "Z": b"Mon, 23 Nov 2026 11:00:13 Z", "A": b"Mon, 23 Nov 2026 11:00:13 A", "no zone": b"Mon, 23 Nov 2026 11:00:13", "a comment": b"Mon, 23 Nov 2026 11:00:13 +0000 (UTC)",
    "+1400": b"Mon, 23 Nov 2026 11:00:13 +1400", "-0330": b"Mon, 23 Nov 2026 11:00:13 -0330", "-0000": b"Mon, 23 Nov 2026 11:00:13 -0000", "nonsense": b"yesterday", "nothing": b"", "the wrong day": b"Fri, 23 Nov 2026 11:00:13 +0000", "30 february": b"Mon, 30 Feb 2026 11:00:13 +0000",
    "day 0": b"Mon, 0 Nov 2026 11:00:13 +0000", "hour 25": b"Mon, 23 Nov 2026 25:00:13 +0000", "second 60": b"Thu, 31 Dec 2026 23:59:60 +0000", "asctime": b"Mon Nov 23 11:00:13 2026", "iso": b"2026-11-23T11:00:13Z", "lower case": b"mon, 23 nov 2026 11:00:13 +0000",
    "1969": b"Wed, 31 Dec 1969 23:00:00 +0000", "9999": b"Fri, 31 Dec 9999 23:59:59 +0000", "folded": b"Mon,\n 23 Nov 2026\n 11:00:13 +0000", "dots": b"Mon, 23 Nov 2026 11.00.13 +0000", "one digit": b"Mon, 3 Nov 2026 1:02:03 +0100", "a long month": b"Mon, 23 November 2026 11:00:13 +0000",
}

HEADERS = {
    "no header": b"\nbody alone\n", "no body": b"Subject: header alone\n", "no body, no line end": b"Subject: header alone", "nothing": b"", "a line end": b"\n", "two line ends": b"\n\n", "no empty line": b"Subject: s\nthis is no field\n\nbody\n",
    "text first": b"this is no field\nSubject: s\n\nbody\n", "a line of mbox first": b"From a@c.test Mon Nov 23 11:00:13 2026\nSubject: s\n\nbody\n", "a line of mbox later": b"Subject: s\n>From a@c.test\nTo: b@d.test\n\nbody\n", "a fold first": b" folded\nSubject: s\n\nbody\n",
    "a space before the colon": b"Subject : s\nFrom : a@c.test\n\nbody\n", "no name": b": value\nSubject: s\n\nbody\n", "no space": b"Subject:s\nFrom:a@c.test\n\nbody\n", "names in all cases": b"sUBJECT: s\nfROM: a@c.test\ncontent-TYPE: text/HTML\n\nbody\n", "a line of spaces": b"Subject: s\n   \nFrom: a@c.test\n\nbody\n",
    "fields twice": b"Subject: one\nSubject: two\nFrom: a@c.test\nFrom: b@c.test\nTo: c@d.test\nTo: d@d.test\nDate: Mon, 23 Nov 2026 11:00:13 +0000\nDate: Tue, 24 Nov 2026 11:00:13 +0000\nMessage-ID: <1@c>\nMessage-ID: <2@c>\n\nbody\n",
    "all of the envelope": HEAD + b"Sender: s@c.test\nReply-To: r@c.test\nCc: cc@c.test\nBcc: bcc@c.test\nIn-Reply-To: <i@c>\nMessage-ID: <m@c>\n\nbody\n", "an empty sender": HEAD + b"Sender:\nReply-To: \n\nbody\n", "no from": b"To: b@d.test\nSender: s@c.test\n\nbody\n",
    "an id without brackets": HEAD + b"Message-ID: m@c\nIn-Reply-To: i@c\n\nbody\n", "an id with spaces": HEAD + b"Message-ID:  < m @ c > \n\nbody\n", "an id folded": HEAD + b"Message-ID:\n <m@c>\nIn-Reply-To: <a@c>\n <b@c>\n\nbody\n", "an empty id": HEAD + b"Message-ID:\n\nbody\n", "an id with a comment": HEAD + b"In-Reply-To: Your message of Monday <i@c> (c)\n\nbody\n",
    "8 bits in a name": "Sübject: s\nSubject: t\n\nbody\n".encode(), "NUL": b"Subject: a\0b\nX\0Y: z\n\nbo\0dy\n", "a bare CR": b"Subject: a\rb\n\nbo\rdy\n", "CR at the end": b"Subject: a\r\r\n\nbody\n", "CRLF": b"Subject: s\r\nFrom: a@c.test\r\n\r\nbody\r\n", "CRLF and LF": b"Subject: s\r\nFrom: a@c.test\n\nbody\r\nmore\n",
    "a line of 100,000": b"X-Long: " + b"x" * 100_000 + b"\nSubject: s\n\nbody\n", "1,000 folds": b"X-Long: x\n" + b" y\n" * 1000 + b"Subject: s\n\nbody\n", "1,000 fields": b"".join(b"X-%d: %d\n" % (n, n) for n in range(1000)) + b"Subject: s\n\nbody\n", "a fold of a tab": b"Subject: a\n\tb\n\nbody\n", "a byte order mark": b"\xef\xbb\xbfSubject: s\n\nbody\n",
    "a name of 2,000": b"N" * 2000 + b": v\nSubject: s\n\nbody\n", "a colon alone": b":\n\nbody\n", "a name with spaces": b"My Field: v\nSubject: s\n\nbody\n", "a folded header ends": b"Subject: s\n folded\n", "a dot alone": b"Subject: s\n\n.\n..\nend\n",
}

BODIES = {
    "no line end": (b"", b"no line end"), "empty": (b"", b""), "line ends": (b"", b"\n\n\n"), "a line of 100,000": (b"", b"x" * 100_000 + b"\n"), "NUL": (b"", b"a\0b\n"), "8 bits undeclared": (b"", "zwölf\n".encode()), "binary": (b"Content-Transfer-Encoding: binary\nContent-Type: application/octet-stream\n", bytes(range(256))),
    "utf-8": (b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n", "zwölf Ωmega\n".encode()), "latin-1": (b"Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n", "zwölf\n".encode("latin-1")), "koi8-r": (b"Content-Type: text/plain; charset=koi8-r\n", "Привет\n".encode("koi8-r")),
    "iso-2022-jp": (b"Content-Type: text/plain; charset=iso-2022-jp\n", "日本語\n".encode("iso-2022-jp")), "gb2312": (b"Content-Type: text/plain; charset=gb2312\n", "中文\n".encode("gb2312")), "shift_jis": (b"Content-Type: text/plain; charset=shift_jis\n", "日本語\n".encode("shift_jis")), "windows-1252": (b"Content-Type: text/plain; charset=windows-1252\n", "“zwölf”\n".encode("cp1252")),
    "utf-16": (b"Content-Type: text/plain; charset=utf-16\nContent-Transfer-Encoding: base64\n", base64.encodebytes("zwölf\n".encode("utf-16"))), "an unknown charset": (b"Content-Type: text/plain; charset=x-none\n", b"zw\xf6lf\n"), "utf-8 that is not": (b"Content-Type: text/plain; charset=utf-8\n", b"zw\xf6lf\n"), "flowed": (b"Content-Type: text/plain; format=flowed\n", b"> one \n> two\n three\n-- \nsignature\n"),
    "html": (b"Content-Type: text/html\n", b"<html><head><title>t</title><style>p { color: red }</style></head><body><p>zw&ouml;lf &amp; <b>more</b></p><script>x()</script></body></html>\n"), "uuencode": (b"", b"begin 644 a\n#86)C\n`\nend\n"),
}

ENCODED = {
    "quoted-printable": {"plain": b"a=3Db=\nc\n", "lower case": b"=c3=b6\n", "bad": b"a=ZZb=4\n", "a soft end": b"a=", "spaces at the end": b"a  \nb=20\n", "a soft break and spaces": b"a=  \nb\n", "long": b"x" * 5000 + b"=\ny\n", "8 bits": "zwö=3D\n".encode(), "CR": b"a=0D=0Ab\n", "NUL": b"a=00b\n"},
    "base64": {"plain": b"endvbGYK\n", "no padding": b"enc\n", "half padding": b"eg=\n", "padding in the middle": b"eg==endv\n", "spaces": b"e n d\tv\nbGYK\n", "bad characters": b"en*dv!bGYK\n", "one character": b"e\n", "empty": b"", "no line end": b"endvbGYK", "odd lines": b"e\nnd\nvbG\nYK\n", "text behind": b"endvbGYK\n\n-- \nlist\n", "bare LF inside": base64.encodebytes(b"a\nb\r\nc\n"), "url-safe": b"_-__\n", "a long line": base64.b64encode(b"x" * 6000) + b"\n", "NUL": base64.b64encode(b"a\0b") + b"\n"},
}

CONVERSATION = [
    # name, subject, id, what it answers
    ("root", b"plans", b"<1@t>", b""), ("answer", b"Re: plans", b"<2@t>", b"References: <1@t>\n"), ("answer to the answer", b"Re: plans", b"<3@t>", b"References: <1@t> <2@t>\n"), ("by In-Reply-To", b"Re: plans", b"<4@t>", b"In-Reply-To: <1@t>\n"),
    ("to one who is not there", b"Re: other", b"<5@t>", b"References: <missing@t>\n"), ("to the same", b"Re: other", b"<6@t>", b"References: <missing@t>\n"), ("itself", b"loop", b"<7@t>", b"References: <7@t>\n"), ("a circle", b"circle", b"<8@t>", b"References: <9@t>\n"), ("the other half", b"circle", b"<9@t>", b"References: <8@t>\n"),
    ("the same id", b"plans", b"<1@t>", b""), ("no id", b"plans", b"", b"References: <1@t>\n"), ("a subject alone", b"Re: plans", b"<10@t>", b""), ("text before the id", b"Re: plans", b"<11@t>", b"In-Reply-To: Your note <2@t> of today\n"), ("ids without brackets", b"x", b"<12@t>", b"References: 1@t\n"), ("another subject", b"something else", b"<13@t>", b"References: <1@t>\n"),
]


def corpus():
    found = {}

    def add(name, octets):
        assert name not in found, name
        found[name] = octets
    for name, octets in structures():
        add(f"structure: {name}", MIME + octets)
    for name, value in TYPES.items():
        add(f"type: {name}", MIME + b"Content-Type: " + value + b"\n\nbody\n")
    for name, fields in FIELDS.items():
        add(f"fields: {name}", (HEAD if name == "no version" else MIME) + fields + b"\nYm9keQ==\n")
        if fields:
            add(f"fields of a part: {name}", MIME + multipart(b"x", fields + b"\nYm9keQ==\n"))
    for name, value in ADDRESSES.items():
        add(f"address: {name}", b"From: a@c.test\nTo: " + value + b"\nSubject: s\n\nbody\n")
    for name, value in SUBJECTS.items():
        add(f"subject: {name}", b"From: a@c.test\nSubject: " + value + b"\nMessage-ID: <" + name.replace(" ", "-").encode() + b"@subject>\n\nbody\n")
    for name, value in DATES.items():
        add(f"date: {name}", b"From: a@c.test\nDate: " + value + b"\nSubject: dated\n\nbody\n")
    for name, octets in HEADERS.items():
        add(f"header: {name}", octets)
    for name, (fields, body) in BODIES.items():
        add(f"body: {name}", MIME + fields + b"\n" + body)
    for encoding, bodies in ENCODED.items():
        for name, body in bodies.items():
            fields = b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: " + encoding.encode() + b"\n"
            add(f"{encoding}: {name}", MIME + fields + b"\n" + body)
            add(f"{encoding} in a part: {name}", MIME + multipart(b"x", fields + b"\n" + body))
    for number, (name, subject, identifier, more) in enumerate(CONVERSATION):
        add(f"thread: {name}", b"From: a%d@c.test\nDate: Tue, 24 Nov 2026 %02d:00:00 +0000\nSubject: %s\n%s%s\nbody\n" % (
            number % 3, number, subject, b"Message-ID: " + identifier + b"\n" if identifier else b"", more))
    return found
