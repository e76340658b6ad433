"""Clients of Python's standard library for python.test.ts: each function is one dialogue.

Usage: clients.py NAME JSON, where JSON has ports, CA and accounts. An assertion that fails ends it
with a traceback and status 1. What a dialogue finds is printed as JSON.
"""

import imaplib
import json
import poplib
import smtplib
import time
import ssl
import sys

AWKWARD_HEADERS = b"From: friend@example.org\r\nSubject: from Python\r\nMIME-Version: 1.0\r\n"
LINES = ["안녕하세요", ".", "..", ".dot", "trailing  ", "", "x" * 990, ""]
MESSAGE = (
    AWKWARD_HEADERS
    + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    + "\r\n".join(LINES).encode()
)
TIMEOUT = 15


def tls(given):
    return ssl.create_default_context(cafile=given["ca"])


def smtp(given):
    """Relay with per-recipient answers, then submission with AUTH, then implicit TLS."""
    with smtplib.SMTP("localhost", given["smtp"], timeout=TIMEOUT) as client:
        client.ehlo("client.example.org")
        assert client.has_extn("smtputf8") and client.has_extn("pipelining")
        assert client.vrfy("u1")[0] in (252, 502)
        refused = client.sendmail(
            "friend@example.org",
            ["u1@pabal.test", "nobody@pabal.test"],
            MESSAGE,
            mail_options=["BODY=8BITMIME"],
        )
        assert refused["nobody@pabal.test"][0] == 550, refused
        assert client.docmd("MAIL", "FROM:<a@example.org> SIZE=99999999999")[0] == 552
        assert client.noop()[0] == 250
    with smtplib.SMTP("localhost", given["submission"], timeout=TIMEOUT) as client:
        client.starttls(context=tls(given))
        try:
            client.login("u2", "wrong")
        except smtplib.SMTPAuthenticationError as refusal:
            assert refusal.smtp_code == 535, refusal
        else:
            raise AssertionError("a wrong password was taken")
        client.login("u2@pabal.test", "secret")
        own = MESSAGE.replace(b"friend@example.org", b"u2@pabal.test")
        client.sendmail("u2@pabal.test", ["u1@pabal.test"], own, ["BODY=8BITMIME"])
    # The same bytes through another gateway are a repetition until this one has told the
    # mail nodes, five times a second, that its client had the answer.
    time.sleep(1)
    submissions = smtplib.SMTP_SSL(
        "localhost", given["submissions"], timeout=TIMEOUT, context=tls(given)
    )
    with submissions as client:
        client.login("u2", "secret")
        client.sendmail("u2@pabal.test", ["u1@pabal.test"], own, ["BODY=8BITMIME"])
    with smtplib.LMTP("localhost", given["lmtp"], timeout=TIMEOUT) as client:
        client.sendmail("friend@example.org", ["u1@pabal.test"], MESSAGE, ["BODY=8BITMIME"])


def imap(given):
    """Login, append, select, fetch, search in Korean, store, copy, expunge, over two gateways."""
    with imaplib.IMAP4("localhost", given["imap"], timeout=TIMEOUT) as client:
        client.starttls(tls(given))
        try:
            client.login("u3", "wrong")
        except imaplib.IMAP4.error as refusal:
            assert "AUTHENTICATIONFAILED" in str(refusal), refusal
        else:
            raise AssertionError("a wrong password was taken")
        client.login("u3", "secret")
        assert client.create('"&ulS6qA-"')[0] == "OK"
        date = '"29-Feb-2020 12:34:56 +0900"'
        assert client.append("INBOX", "(\\Flagged)", date, MESSAGE)[0] == "OK"
    with imaplib.IMAP4_SSL("localhost", given["imaps"], ssl_context=tls(given)) as client:
        client.authenticate("PLAIN", lambda _: b"\0u3\0secret")
        assert client.select("INBOX") == ("OK", [b"1"])
        _, found = client.fetch("1", "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")
        facts, body = found[0]
        assert body == MESSAGE, body
        assert b"RFC822.SIZE %d" % len(MESSAGE) in facts, facts
        assert b'"29-Feb-2020 12:34:56 +0900"' in facts, facts
        assert b"\\Flagged" in facts + found[1], found
        _, part = client.fetch("1", "(BODY.PEEK[TEXT]<3.7>)")
        assert part[0][1] == MESSAGE.split(b"\r\n\r\n", 1)[1][3:10], part
        client.literal = "안녕하세요".encode()
        assert client.uid("SEARCH", "CHARSET", "UTF-8", "BODY") == ("OK", [b"1"])
        client.literal = "없는말".encode()
        assert client.search("UTF-8", "BODY") == ("OK", [b""])
        assert client.copy("1", '"&ulS6qA-"')[0] == "OK"
        assert client.store("1", "+FLAGS", "\\Deleted")[0] == "OK"
        assert client.expunge() == ("OK", [b"1"])
        assert client.select('"&ulS6qA-"', readonly=True) == ("OK", [b"1"])
        _, found = client.fetch("1", "(BODY[])")
        assert found[0][1] == MESSAGE
        assert client.status("INBOX", "(MESSAGES)")[1] == [b'"INBOX" (MESSAGES 0)']
        quota = client.getquotaroot("INBOX")
        assert quota[0] == "OK", quota
        client.close()


def pop3(given):
    """CAPA, UIDL, TOP, RETR, DELE with RSET, and QUIT, in plaintext, after STLS and over TLS."""
    client = poplib.POP3("localhost", given["pop3"], timeout=TIMEOUT)
    assert "UIDL" in client.capa() and "TOP" in client.capa()
    client.stls(tls(given))
    client.user("u4")
    client.pass_("secret")
    assert client.stat() == (2, 2 * len(MESSAGE))
    uids = client.uidl()[1]
    _, lines, _ = client.retr(1)
    assert b"\r\n".join(lines) + b"\r\n" == MESSAGE, lines
    _, top, _ = client.top(1, 2)
    head = MESSAGE.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
    assert top == head + [b"", *(line.encode() for line in LINES[:2])], top
    client.dele(1)
    client.rset()
    client.dele(2)
    client.quit()
    client = poplib.POP3_SSL("localhost", given["pop3s"], context=tls(given), timeout=TIMEOUT)
    try:
        client.apop("u4", "secret")
    except poplib.error_proto:
        pass
    client.user("u4@pabal.test")
    client.pass_("secret")
    assert client.uidl()[1] == uids[:1]
    try:
        client.retr(2)
    except poplib.error_proto as refusal:
        assert refusal.args[0].startswith(b"-ERR"), refusal
    else:
        raise AssertionError("a deleted message came")
    client.quit()


given = json.loads(sys.argv[2])
{"smtp": smtp, "imap": imap, "pop3": pop3, "message": lambda _: None}[sys.argv[1]](given)
print(json.dumps({"message": MESSAGE.decode()}))
