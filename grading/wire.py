"""What judge and worker write to each other, read without running anybody's code: JSON and the bytes of tensors."""

import json
import math
import socket
import struct
import time

import torch

MOST = 8 * 2**20  # bytes that are read of any payload
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def pack(header, tensors=()):
    kinds = [[str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for tensor in tensors]
    head = json.dumps({"header": header, "tensors": kinds}).encode()
    parts = [tensor.detach().contiguous().numpy().tobytes() for tensor in tensors]
    return b"".join([struct.pack("<I", len(head)), head, *parts])


def unpack(payload):
    """Header and tensors of a payload, or ValueError, whatever the bytes are."""
    try:
        (length,) = struct.unpack_from("<I", payload)
        message, start, tensors = json.loads(payload[4 : 4 + length]), 4 + length, []
        for name, shape in message["tensors"]:
            dtype, count = DTYPES[name], math.prod(shape)
            part = bytearray(payload[start : start + count * dtype.itemsize])
            numbers = torch.frombuffer(part, dtype=dtype) if count else torch.empty(0, dtype=dtype)
            tensors.append(numbers.reshape(shape))
            start += len(part)
        return dict(message["header"]), tensors
    except (KeyError, TypeError, ValueError, RuntimeError, RecursionError, OverflowError, struct.error) as problem:
        raise ValueError("not a payload") from problem


def send(connection, header, tensors=(), descriptors=()):
    """Write one payload; open files may go with it to a process that this one trusts or has started."""
    payload = pack(header, tensors)
    socket.send_fds(connection, [struct.pack("<Q", len(payload))], descriptors)
    connection.sendall(payload)


def receive(connection, deadline=None):
    """Header and tensors; TimeoutError at the deadline, however many bytes have come; EOFError; ValueError."""
    (length,) = struct.unpack("<Q", exactly(connection, 8, deadline))
    if length > MOST:
        raise ValueError(f"{length} bytes")
    return unpack(exactly(connection, length, deadline))


def receive_with_descriptor(connection):
    start, descriptors, *_ = socket.recv_fds(connection, 8, 1)
    if not start:
        raise EOFError
    (length,) = struct.unpack("<Q", start)
    return unpack(exactly(connection, length, None))[0], (descriptors or [None])[0]


def exactly(connection, count, deadline):
    parts = []
    while count:
        connection.settimeout(None if deadline is None else max(deadline - time.monotonic(), 1e-3))
        part = connection.recv(min(count, 2**16))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
        if count and deadline is not None and time.monotonic() > deadline:
            raise TimeoutError
    return b"".join(parts)
