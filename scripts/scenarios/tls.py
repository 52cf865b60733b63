"""What the relay speaks and what it refuses: versions, suites, groups, as testssl.sh lists them."""
import os
import re
import socket
import struct
import subprocess

from mailworld import RELAY, SMTP_PORT, World, claim, stop
from scenarios.base import ZONE, scenario
from scenarios.postfix import make_certificate

TLS_PORT = 2465
KINDS = {"RSA": ("rsa:2048",), "ECDSA": ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")}
# RFC 9325 §4.2: forward secrecy and AEAD; nothing with the key exchange of RSA, nothing with CBC.
SUITES_12 = {kind: {f"ECDHE-{kind}-AES128-GCM-SHA256", f"ECDHE-{kind}-AES256-GCM-SHA384", f"ECDHE-{kind}-CHACHA20-POLY1305"}
             for kind in KINDS}
SUITES_13 = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
GROUPS = {"X25519", "P-256", "P-384"}
# Of draft-ietf-tls-ecdhe-mlkem; OpenSSL knows it from 3.5 on, so it is asked for by hand.
X25519MLKEM768, X448 = 0x11EC, 0x001E
SMTPS, STARTTLS = ["-connect", f"{RELAY}:{TLS_PORT}"], ["-connect", f"{RELAY}:{SMTP_PORT}", "-starttls", "smtp"]


def shake_hands(where, *options):
    """What is agreed on, and what openssl says of it."""
    done = subprocess.run(["openssl", "s_client", *where, "-brief", *options], input="QUIT\n", capture_output=True,
                          text=True, check=False, timeout=60)
    version, suite = (re.search(f"^{what}: (.*)$", done.stderr, re.M) for what in ("Protocol version", "Ciphersuite"))
    agreed = (version[1], suite[1]) if version and suite else None
    return agreed, done.stderr


def agreed(where, *options):
    return shake_hands(where, *options)[0]


def known(*options):
    done = subprocess.run(["openssl", "ciphers", "-s", *options], capture_output=True, text=True, check=True)
    return done.stdout.strip().split(":")


def old_versions_are_refused(where):
    for old in ("-tls1", "-tls1_1"):
        taken, said = shake_hands(where, old, "-cipher", "ALL:@SECLEVEL=0")
        claim(taken is None, f"{old} is spoken: {taken}")
        # It is the relay that refuses, not this openssl.
        claim(re.search("alert (protocol version|handshake failure)", said), f"{old}: {said}")
    claim(agreed(where)[0] == "TLSv1.3", "TLS 1.3 is not the first choice")
    claim(agreed(where, "-tls1_2")[0] == "TLSv1.2", "TLS 1.2 is not spoken")


def list_all(kind, where):
    """Everything that openssl can ask for, held against what is to be taken."""
    every = [name for name in known("-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0") if not name.startswith("TLS_")]
    named = " ".join(every)
    for bad in ("AES256-SHA", "AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256", "NULL"):
        claim(bad in named, f"this openssl cannot ask for {bad}")
    taken = {name for name in every if agreed(where, "-tls1_2", "-cipher", f"{name}:@SECLEVEL=0")}
    claim(taken == SUITES_12[kind], f"{kind}: of {len(every)} suites of TLS 1.2 these are taken: {sorted(taken)}")
    every = known("-tls1_3", "-ciphersuites", ":".join(sorted(SUITES_13)) + ":TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256")
    every = [name for name in every if name.startswith("TLS_")]
    claim(len(every) == 5, f"this openssl can ask for {every} only")
    taken = {name for name in every if agreed(where, "-tls1_3", "-ciphersuites", name)}
    claim(taken == SUITES_13, f"{kind}: of TLS 1.3 these are taken: {sorted(taken)}")
    taken = {name for name in ("X25519", "X448", "P-256", "P-384", "P-521", "ffdhe2048") if agreed(where, "-tls1_3", "-groups", name)}
    claim(taken == GROUPS, f"{kind}: these groups are taken: {sorted(taken)}")


def group_chosen(group):
    """Which group a server wants from a client that knows one and has sent no key: the HelloRetryRequest's
    (RFC 8446 §4.1.4); None where it says anything else."""
    def sized(width, body):
        return len(body).to_bytes(width, "big") + body

    def extension(number, body):
        return struct.pack(">H", number) + sized(2, body)
    groups = struct.pack(">H", group)
    extensions = (extension(0, sized(2, b"\0" + sized(2, b"relay.test"))) + extension(10, sized(2, groups))
                  + extension(13, sized(2, bytes.fromhex("040308040805"))) + extension(43, sized(1, b"\x03\x04"))
                  + extension(51, sized(2, b"")))
    hello = (b"\x03\x03" + os.urandom(32) + sized(1, os.urandom(32)) + sized(2, bytes.fromhex("130113021303")) + b"\x01\0"
             + sized(2, extensions))
    with socket.create_connection((RELAY, TLS_PORT), timeout=30) as peer:
        peer.sendall(b"\x16\x03\x01" + sized(2, b"\x01" + sized(3, hello)))
        answer = peer.makefile("rb")
        kind, _, size = struct.unpack(">BHH", answer.read(5))
        body = answer.read(size)
    retry = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
    if kind != 22 or body[0] != 2 or body[6:38] != retry:
        return None
    rest = body[39 + body[38] + 5:]
    while rest:
        number, size = struct.unpack(">HH", rest[:4])
        if number == 51:
            return int.from_bytes(rest[4:6], "big")
        rest = rest[4 + size:]
    return None


@scenario(quick=True)
def openssl_finds_only_what_is_good_today():
    with World() as world:
        world.start_dns(ZONE)
        for kind, key in KINDS.items():
            make_certificate(world, kind, "relay.test", key)
            for file in (f"{kind}.key", f"{kind}.pem"):
                (world.home / file).chmod(0o600)
            world.start_relay(f'[tls]\ncertificate = "{world.home}/{kind}.pem"\nkey = "{world.home}/{kind}.key"\n',
                              routes=f'[[listener]]\nprotocol = "submissions"\nbind = ["{RELAY}:{TLS_PORT}"]\n')
            for where in (SMTPS, STARTTLS):
                old_versions_are_refused(where)
            list_all(kind, SMTPS)
            claim(group_chosen(X25519MLKEM768) == X25519MLKEM768, "X25519MLKEM768 is not taken")
            claim(group_chosen(X448) is None, "X448 is taken")
            stop(world.relay)
