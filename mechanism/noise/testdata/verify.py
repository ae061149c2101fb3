#!/usr/bin/env python3
"""Checks the vectors beside it, sharing no code with the Go implementation.

It needs the package cryptography, version 47 or newer, built with an OpenSSL
that has ML-KEM. Whole handshakes are computed from the private keys of the
initiator and from what the responder sent; all keys, records and packets
follow from that.
"""
import glob, hashlib, hmac, json, os, struct, sys
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

SCRIPTS = {  # docs/SPEC.md section 1, written out
    "XX": "e / e ee s es / s se",
    "IK": "e es s ss / e ee se",
    "NK": "e es / e ee",
    "XXhfs": "e e1 / e ee ekem1 s es / s se",
    "IKhfs": "e es e1 s ss / e ee ekem1 se",
    "NKhfs": "e es e1 / e ee ekem1",
    "NNhfs+psk0": "psk e e1 / e ee ekem1",
    "XXhfs+psk3": "e e1 / e ee ekem1 s es / s se psk",
}
REKEY_NONCE = 2**64 - 1


def hm(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(ck, ikm, n):
    prk, out, last = hm(ck, ikm), [], b""
    for i in range(1, n + 1):
        last = hm(prk, last + bytes([i]))
        out.append(last)
    return out


class Cipher:
    def __init__(self, name, key):
        self.name, self.key = name, key
        self.aead = AESGCM(key) if name == "AESGCM" else ChaCha20Poly1305(key)

    def nonce(self, n):
        return bytes(4) + struct.pack(">Q" if self.name == "AESGCM" else "<Q", n)

    def seal(self, n, ad, text):
        return self.aead.encrypt(self.nonce(n), text, ad)

    def open(self, n, ad, text):
        return self.aead.decrypt(self.nonce(n), text, ad)

    def rekeyed(self, epochs):
        c = self
        for _ in range(epochs):
            c = Cipher(c.name, c.seal(REKEY_NONCE, b"", bytes(32))[:32])
        return c


class Symmetric:
    def __init__(self, name):
        self.cipher_name = name.split("_")[3]
        name = name.encode()
        self.h = name.ljust(32, b"\0") if len(name) <= 32 else hashlib.sha256(name).digest()
        self.ck, self.cipher, self.n = self.h, None, 0

    def mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def mix_key(self, ikm):
        self.ck, key = hkdf(self.ck, ikm, 2)
        self.cipher, self.n = Cipher(self.cipher_name, key), 0

    def mix_key_and_hash(self, ikm):
        self.ck, temp, key = hkdf(self.ck, ikm, 3)
        self.mix_hash(temp)
        self.cipher, self.n = Cipher(self.cipher_name, key), 0

    def encrypt(self, text):
        out = text
        if self.cipher:
            out = self.cipher.seal(self.n, self.h, text)
            self.n += 1
        self.mix_hash(out)
        return out

    def decrypt(self, text):
        out = text
        if self.cipher:
            out = self.cipher.open(self.n, self.h, text)
            self.n += 1
        self.mix_hash(text)
        return out


def public(private):
    return private.public_key().public_bytes_raw()


class Initiator:
    def __init__(self, v):
        un = bytes.fromhex
        side = v["initiator"]
        self.v, self.pattern = v, v["protocol"].split("_")[1]
        self.sym = Symmetric(v["protocol"])
        self.sym.mix_hash(un(v["prologue"]))
        self.s = X25519PrivateKey.from_private_bytes(un(side["static"])) if "static" in side else None
        self.e = X25519PrivateKey.from_private_bytes(un(side["ephemeral"]))
        self.kem = MLKEM768PrivateKey.from_seed_bytes(un(side["kem_seed"])) if "kem_seed" in side else None
        self.psk = un(v.get("psk", ""))
        self.rs = self.re = None
        if self.pattern[:2] in ("IK", "NK"):
            self.rs = un(v["responder"]["static_public"])
            self.sym.mix_hash(self.rs)

    def mix_e(self, e):
        self.sym.mix_hash(e)
        if self.psk:
            self.sym.mix_key(e)

    def dh(self, token):
        own = self.s if token[0] == "s" else self.e
        other = self.rs if token[1] == "s" else self.re
        self.sym.mix_key(own.exchange(X25519PublicKey.from_public_bytes(other)))

    def write(self, tokens):
        out = b""
        for t in tokens:
            if t == "e":
                out += public(self.e)
                self.mix_e(public(self.e))
            elif t == "s":
                out += self.sym.encrypt(public(self.s))
            elif t == "e1":
                out += self.sym.encrypt(public(self.kem))
            elif t == "psk":
                self.sym.mix_key_and_hash(self.psk)
            else:
                self.dh(t)
        return out + self.sym.encrypt(b"")

    def read(self, tokens, message):
        def take(n, encrypted=True):
            nonlocal message
            n += 16 if encrypted and self.sym.cipher else 0
            head, message = message[:n], message[n:]
            return self.sym.decrypt(head) if encrypted else head

        for t in tokens:
            if t == "e":
                self.re = take(32, False)
                self.mix_e(self.re)
            elif t == "s":
                self.rs = take(32)
            elif t == "ekem1":
                self.sym.mix_key(self.kem.decapsulate(take(1088)))
            else:
                self.dh(t)
        return self.sym.decrypt(message)


def verify(v):
    un = bytes.fromhex
    i = Initiator(v)
    script = [m.split() for m in SCRIPTS[i.pattern].split(" / ")]
    assert len(script) == len(v["handshake"])
    for n, (tokens, step) in enumerate(zip(script, v["handshake"])):
        message = un(step["message"])
        assert step["from"] == ("initiator", "responder")[n % 2]
        if n % 2 == 0:
            assert i.write(tokens) == message, "message %d" % (n + 1)
        else:
            assert i.read(tokens, message) == b""
    r = v["responder"]
    assert i.re == public(X25519PrivateKey.from_private_bytes(un(r["ephemeral"])))
    if "static" in r:
        assert i.rs == un(r["static_public"])
        assert i.rs == public(X25519PrivateKey.from_private_bytes(un(r["static"])))
    assert i.sym.h == un(v["handshake_hash"])

    secrets = {k: un(x) for k, x in v["secrets"].items()}
    i2r, r2i = hkdf(i.sym.ck, b"", 2)
    assert (i2r, r2i) == (secrets["i2r_traffic"], secrets["r2i_traffic"])
    prk, out, last = hm(b"securesp/1 packet", i.sym.ck), b"", b""
    for n in (1, 2, 3):
        last = hm(prk, last + i.sym.h + bytes([n]))
        out += last
    assert (out[:32], out[32:64]) == (secrets["i2r_packet"], secrets["r2i_packet"])
    index = {"initiator": out[68:72], "responder": out[64:68]}  # of who receives from it

    name = v["protocol"].split("_")[3]
    key = {"initiator": i2r, "responder": r2i}
    for x in v["records"]:
        text, record, n = un(x["plaintext"]), un(x["record"]), x["counter"]
        header = struct.pack(">HB", 1 + len(text) + 16, x["type"])
        c = Cipher(name, key[x["from"]]).rekeyed(n >> 16)
        assert record == header + c.seal(n, header, text), "record %d" % n
    key = {"initiator": out[:32], "responder": out[32:64]}
    for x in v["packets"]:
        text, packet, n = un(x["plaintext"]), un(x["packet"]), x["counter"]
        header = index[x["from"]] + struct.pack(">Q", n)
        c = Cipher(name, key[x["from"]]).rekeyed(n >> 16)
        assert packet == header + c.seal(n, header, text), "packet %d" % n
    assert len(v["records"]) == 8 and len(v["packets"]) == 8


files = sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "vectors", "*.json")))
for path in files:
    with open(path) as f:
        verify(json.load(f))
    print("ok", os.path.basename(path))
sys.exit(not files)
