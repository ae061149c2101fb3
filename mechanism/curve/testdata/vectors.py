#!/usr/bin/env python3
"""Make vectors.json: CURVE as SPEC section 8 has it, on libsodium.

Everything here is computed by PyNaCl (libsodium) and Python's hashlib and hmac
from the specification, with nothing of the Go implementation, so that a
mistake would have to be made twice to go unnoticed.

    apt-get install python3-nacl
    python3 vectors.py > vectors.json
"""

import hashlib
import hmac
import json
import struct

from nacl.bindings import (
    crypto_box_afternm,
    crypto_box_beforenm,
    crypto_scalarmult_base,
    crypto_secretbox,
)


def fixed(label):
    """32 bytes that stand for random ones."""
    return hashlib.sha256(b"securesp CURVE vector: " + label.encode()).digest()


def box(plaintext, nonce, public, private):
    return crypto_box_afternm(plaintext, nonce, crypto_box_beforenm(public, private))


def short(prefix, counter):
    return prefix + struct.pack(">Q", counter)


def metadata(properties):
    out = b""
    for name, value in properties:
        out += struct.pack(">B", len(name)) + name.encode()
        out += struct.pack(">I", len(value)) + value
    return out


def hkdf(secret, salt, info, size):
    """HKDF-SHA256 (RFC 5869)."""
    prk = hmac.new(salt, secret, hashlib.sha256).digest()
    out = block = b""
    while len(out) < size:
        counter = struct.pack(">B", len(out) // 32 + 1)
        block = hmac.new(prk, block + info + counter, hashlib.sha256).digest()
        out += block
    return out[:size]


def handshake(client_metadata, server_metadata):
    c, s = fixed("c"), fixed("s")
    c1, s1 = fixed("c'"), fixed("s'")
    C, S, C1, S1 = map(crypto_scalarmult_base, (c, s, c1, s1))
    t = fixed("cookie key")
    cookie_nonce = fixed("cookie nonce")[:16]
    welcome_nonce = fixed("welcome nonce")[:16]
    vouch_nonce = fixed("vouch nonce")[:16]

    hello = b"\x05HELLO\x01\x00" + bytes(72) + C1 + struct.pack(">Q", 1)
    hello += box(bytes(64), short(b"CurveZMQHELLO---", 1), S, c1)

    cookie = cookie_nonce + crypto_secretbox(C1 + s1, b"COOKIE--" + cookie_nonce, t)
    welcome = b"\x07WELCOME" + welcome_nonce
    welcome += box(S1 + cookie, b"WELCOME-" + welcome_nonce, C1, s)

    vouch = vouch_nonce + box(C1 + S, b"VOUCH---" + vouch_nonce, S1, c)
    initiate = b"\x08INITIATE" + cookie + struct.pack(">Q", 2)
    initiate += box(
        C + vouch + metadata(client_metadata), short(b"CurveZMQINITIATE", 2), S1, c1
    )

    ready = b"\x05READY" + struct.pack(">Q", 1)
    ready += box(metadata(server_metadata), short(b"CurveZMQREADY---", 1), C1, s1)

    k = crypto_box_beforenm(C1, s1)
    messages = [hello, welcome, initiate, ready]
    transcript = hashlib.sha256(b"securesp/1 CURVE").digest()
    for m in messages:
        transcript = hashlib.sha256(transcript + m).digest()
    return {
        "client": c,
        "server": s,
        "client_random": c1 + vouch_nonce,
        "server_random": s1 + t + cookie_nonce + welcome_nonce,
        "messages": messages,
    }, k, lambda label, size: hkdf(k, transcript, label.encode() + C + S, size)


def record(k, prefix, counter, kind, plaintext):
    sealed = crypto_box_afternm(bytes([kind]) + plaintext, short(prefix, counter), k)
    return struct.pack(">HB", 1 + len(sealed), kind) + sealed


def message(k, prefix, counter, flags, content):
    sealed = crypto_box_afternm(bytes([flags]) + content, short(prefix, counter), k)
    return b"\x07MESSAGE" + struct.pack(">Q", counter) + sealed


def packet(key, index, counter, plaintext):
    sealed = crypto_box_afternm(plaintext, short(b"securespDATAGRAM", counter), key)
    return index + struct.pack(">Q", counter) + sealed


def suite():
    prologue = b"the prologue"
    proof = [("Securesp-Prologue", hashlib.sha256(prologue).digest())]
    v, k, derive = handshake(proof, proof)
    v["prologue"] = prologue
    v["binding"] = derive("securesp/1 CURVE binding", 32)
    v["records"] = []
    plaintexts = [(0x10, b""), (0x00, b"hello"), (0x00, bytes(range(256)))]
    for i, (kind, plaintext) in enumerate(plaintexts):
        v["records"].append({
            "type": kind,
            "plaintext": plaintext,
            "from_initiator": record(k, b"CurveZMQMESSAGEC", 3 + i, kind, plaintext),
            "from_responder": record(k, b"CurveZMQMESSAGES", 2 + i, kind, plaintext),
        })
    packet_keys = derive("securesp/1 CURVE packet", 72)
    key_i2r, key_r2i = packet_keys[:32], packet_keys[32:64]
    index_i, index_r = packet_keys[64:68], packet_keys[68:]
    v["packets"] = []
    for i, plaintext in enumerate([b"", b"hello", bytes(100)]):
        v["packets"].append({
            "plaintext": plaintext,
            "from_initiator": packet(key_i2r, index_r, i, plaintext),
            "from_responder": packet(key_r2i, index_i, i, plaintext),
        })
    return v


def zmtp():
    client = [("Socket-Type", b"REQ"), ("Identity", b"")]
    server = [("Socket-Type", b"REP")]
    v, k, _ = handshake(client, server)
    v["client_metadata"] = [{"name": n, "value": x} for n, x in client]
    v["server_metadata"] = [{"name": n, "value": x} for n, x in server]
    v["commands"] = []
    for i, (flags, content) in enumerate([(1, b""), (0, b"hello"), (2, b"\x04PING\0\0")]):
        v["commands"].append({
            "flags": flags,
            "content": content,
            "from_initiator": message(k, b"CurveZMQMESSAGEC", 3 + i, flags, content),
            "from_responder": message(k, b"CurveZMQMESSAGES", 2 + i, flags, content),
        })
    return v


def encode(x):
    if isinstance(x, bytes):
        return x.hex()
    raise TypeError


print(json.dumps({"suite": suite(), "zmtp": zmtp()}, default=encode, indent=1))
