"""A reader of TensorBoard's event files: records with their checksums, and the few protocol-buffer fields that scalars and pictures need."""

import struct


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(crc):
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(data):
    """The payloads of a TFRecord file; every checksum must fit."""
    at = 0
    while at < len(data):
        length = data[at : at + 8]
        (size,) = struct.unpack("<Q", length)
        payload = data[at + 12 : at + 12 + size]
        assert struct.unpack_from("<I", data, at + 8)[0] == masked(crc32c(length)), "checksum of a length"
        assert struct.unpack_from("<I", data, at + 12 + size)[0] == masked(crc32c(payload)), "checksum of a record"
        yield payload
        at += 16 + size


def fields(message):
    """{number: value} of one protocol-buffer message; each number occurs once in what is read here."""
    out, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            value |= (message[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if message[at - 1] < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            out[key >> 3] = varint()
        elif key & 7 == 2:
            size = varint()
            out[key >> 3], at = message[at : at + size], at + size
        else:
            size, form = {1: (8, "<d"), 5: (4, "<f")}[key & 7]
            out[key >> 3], at = struct.unpack_from(form, message, at)[0], at + size
    return out


def read(path):
    """-> (version, {tag: [(step, value)]}, {tag: [(step, height, width, png)]})"""
    version, scalars, images = None, {}, {}
    for record in records(path.read_bytes()):
        event = fields(record)
        if 3 in event:
            version = event[3].decode()
            continue
        value = fields(fields(event[5])[1])
        tag, step = value[1].decode(), event.get(2, 0)
        if 2 in value:
            scalars.setdefault(tag, []).append((step, value[2]))
        else:
            image = fields(value[4])
            images.setdefault(tag, []).append((step, image[1], image[2], image[4]))
    return version, scalars, images
