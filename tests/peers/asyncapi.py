"""Holds docs/asyncapi.yaml against the AsyncAPI 3 schema, the golden files and messages that were seen.

    asyncapi.py document            the document itself, its references, and the wire's golden files
    asyncapi.py messages < LINES    one JSON line a message: topic, payload (base64), qos, retain, expiry, content_type

Objects are closed while checking: a field that the document does not name is reported, although readers pass over it.
asyncapi-3.0.0.schema.json is the schema that the AsyncAPI project publishes (Apache-2.0), without its prose and the
bindings of other protocols than MQTT.
"""

import base64
import copy
import json
import pathlib
import re
import struct
import sys

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "libs/contract/tests/golden"
DOCUMENT = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())

GOLDEN_SCHEMAS = {
    "live-prediction.json": "LivePrediction", "live-event.json": "LiveEvent", "live-health.json": "LiveHealth",
    "live-status-birth.json": "Status", "live-status-will.json": "Status", "live-camera-status.json": "CameraStatus",
    "live-state.json": "RegionState", "command-sample-now.json": "Command", "reply.json": "Reply",
    "desired.json": "Desired", "reported.json": "Reported", "archived.json": "Archived",
    "header.json": "Header", "header-bare.json": "Header", "body-prediction.json": "Prediction",
    "body-event.json": "Event", "body-sample.json": "Sample", "body-health.json": "Health", "body-gap.json": "Gap",
}


def closed(schema, part_of_all=False):
    """The schema with every object closed, also one that is put together from parts."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {}
    for key, value in schema.items():
        if key == "allOf":
            out[key] = [closed(inline(part), True) for part in value]
        elif key == "properties":
            out[key] = {name: closed(inner) for name, inner in value.items()}
        elif key in ("items", "additionalProperties", "oneOf"):
            out[key] = closed(value)
        else:
            out[key] = value
    if not part_of_all and ("properties" in schema or "allOf" in schema) and "additionalProperties" not in schema:
        out["unevaluatedProperties"] = False
    return out


def inline(schema):
    return resolve(schema["$ref"]) if "$ref" in schema else schema


def resolve(ref):
    if not ref.startswith("#/"):
        raise KeyError(ref)
    node = DOCUMENT
    for part in ref[2:].split("/"):
        node = node[part]
    return node


CLOSED = {name: closed(schema) for name, schema in copy.deepcopy(DOCUMENT["components"]["schemas"]).items()}


def validator(name):
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": CLOSED}}
    return jsonschema.Draft202012Validator(schema)


VALIDATORS = {name: validator(name) for name in CLOSED}


def errors(name, value):
    return [f"{e.json_path}: {e.message}" for e in VALIDATORS[name].iter_errors(value)]


# --- the archive lane, by the table in the document --------------------------------------------------------------------

BUNDLE = DOCUMENT["components"]["messages"]["Bundle"]["payload"]
FIELDS = {field["name"]: field for field in BUNDLE["x-frame"]}


def crc32c(data, table=[]):
    if not table:
        for n in range(256):
            for _ in range(8):
                n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
            table.append(n)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def field(frame, name):
    f = FIELDS[name]
    raw = frame[f["offset"]:f["offset"] + f["size"]]
    return int.from_bytes(raw, "big" if f["type"].endswith("be") else "little")


def bundle_errors(message, fragments=None):
    """What is wrong with a bundle; whole records are held against their schemas, fragments against their place."""
    magic = BUNDLE["x-bundle-magic"].encode()
    if not message.startswith(magic):
        return ["does not begin with " + magic.decode()]
    at, found = len(magic), []
    while at < len(message):
        frame = message[at:]
        length = field(frame, "length")
        frame = frame[:8 + length]
        if len(frame) < 8 + length or length < 32:
            return found + [f"torn at byte {at}"]
        if crc32c(frame[8:]) != field(frame, "crc32c"):
            return found + [f"wrong checksum at byte {at}"]
        if field(frame, "version") != 1 or field(frame, "reserved") != 0 or field(frame, "index") >= field(frame, "count"):
            found.append(f"frame at byte {at}: version, reserved or fragment")
        if field(frame, "count") == 1:
            found += [f"frame at byte {at}: {e}" for e in record_errors(frame)]
        at += 8 + length
    return found


def record_errors(frame):
    record = frame[FIELDS["payload"]["offset"]:]
    (header_length,) = struct.unpack_from("<I", record)
    header = json.loads(record[4:4 + header_length])
    (body_length,) = struct.unpack_from("<I", record, 4 + header_length)
    body_at = 8 + header_length
    body = json.loads(record[body_at:body_at + body_length])
    kind = BUNDLE["x-kinds"][field(frame, "kind")]
    found = [f"header {e}" for e in errors("Header", header)] + [f"body {e}" for e in errors(kind, body)]
    if header["kind"] != kind.lower() or header["seq"] != field(frame, "seq"):
        found.append("header and frame disagree")
    if int(header["epoch"], 16) != field(frame, "epoch"):
        found.append("header and frame disagree about the epoch")
    blobs = len(record) - body_at - body_length
    expected = body["picture"]["bytes"] + body.get("input", {}).get("bytes", 0) if kind == "Sample" else 0
    if blobs != expected:
        found.append(f"{blobs} bytes of blobs, {expected} expected")
    return found


# --- messages ------------------------------------------------------------------------------------------------------------

def channels():
    for name, channel in DOCUMENT["channels"].items():
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[a-z0-9][a-z0-9-]{0,62})", re.escape(channel["address"]))
        operation = next(o for o in DOCUMENT["operations"].values() if o["channel"]["$ref"] == f"#/channels/{name}")
        (message,) = channel["messages"].values()
        yield name, re.compile(pattern), channel, operation, resolve(message["$ref"])


CHANNELS = list(channels())


def message_errors(message):
    # Literal levels win over parameters: `…/<gateway>/status` is not `…/<camera>`.
    for name, pattern, channel, operation, described in CHANNELS:
        match = pattern.fullmatch(message["topic"])
        if not match or "enum" in channel["parameters"].get("kind", {}) and match["kind"] not in channel["parameters"]["kind"]["enum"]:
            continue
        payload = base64.b64decode(message["payload"])
        found = binding_errors(message, operation["bindings"]["mqtt"], described)
        if name == "up":
            return found + bundle_errors(payload)
        if name == "snapshot":
            return found + ([] if payload[:2] == b"\xff\xd8" else ["not a JPEG"])
        schema = described["payload"]["$ref"].rsplit("/", 1)[1]
        return found + errors(schema, json.loads(payload))
    return ["no channel of the document has this topic"]


def binding_errors(message, binding, described):
    found = []
    if message.get("retain") is not None and message["retain"] != binding["retain"]:
        found.append(f"retain is {message['retain']}, documented {binding['retain']}")
    if message.get("qos") is not None and message["qos"] != binding["qos"]:
        found.append(f"qos is {message['qos']}, documented {binding['qos']}")
    longest, expiry = binding.get("messageExpiryInterval"), message.get("expiry")
    if "expiry" in message and (longest is None) != (expiry is None) or longest and expiry and expiry > longest:
        found.append(f"expiry is {expiry}, documented {longest}")
    content_type = message.get("content_type")
    if content_type and content_type != described.get("contentType", DOCUMENT["defaultContentType"]):
        found.append(f"content type is {content_type}")
    return found


# --- the document itself ----------------------------------------------------------------------------------------------------

def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def document_errors():
    schema = json.loads((ROOT / "tests/peers/asyncapi-3.0.0.schema.json").read_text())
    as_json = json.loads(json.dumps(DOCUMENT))
    found = [f"{e.json_path}: {e.message}" for e in jsonschema.Draft7Validator(schema).iter_errors(as_json)]
    for ref in set(references(DOCUMENT)):
        try:
            resolve(ref)
        except KeyError:
            found.append(f"{ref} points nowhere")
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)
    for file, name in GOLDEN_SCHEMAS.items():
        found += [f"{file}: {e}" for e in errors(name, json.loads((GOLDEN / file).read_text()))]
    found += [f"bundle.bin: {e}" for e in bundle_errors((GOLDEN / "bundle.bin").read_bytes())]
    for fragment in sorted(GOLDEN.glob("fragment-*.bin")):
        found += [f"{fragment.name}: {e}" for e in bundle_errors(fragment.read_bytes())]
    return found


def main():
    if sys.argv[1:] == ["document"]:
        found = document_errors()
        print("\n".join(found) or f"docs/asyncapi.yaml: {len(CHANNELS)} channels, {len(CLOSED)} schemas, all as they should be")
    elif sys.argv[1:] == ["messages"]:
        count, found = 0, {}
        for line in sys.stdin:
            message = json.loads(line)
            count += 1
            for error in message_errors(message):
                found.setdefault(f"{message['topic']}: {error}", base64.b64decode(message["payload"])[:600])
        print("\n".join(f"{error}\n    {payload!r}" for error, payload in found.items()) or f"{count} messages as documented")
    else:
        sys.exit(__doc__)
    sys.exit(1 if found else 0)


main()
