"""Peer: what an engineer would write to archive the same messages: paho for MQTT, pyarrow for Parquet, boto3 for S3.

It reads the archive lane's bundles (docs/asyncapi.yaml), keeps predictions until there are as many as the hub flushes at
once or the interval has passed, writes one Parquet object with the hub's columns, order and compression, puts it, and only
then tells each gateway what is archived. Written for speed: one pass over a message without copies, orjson where it is
asked for, whole columns at once, timestamps parsed by Arrow, the garbage collector held off what lives until the flush.
What the hub does beside that it leaves out: checksums, second arrivals, clocks, ranges, tables.

    archive_consumer.py '{"mqtt": "127.0.0.1:1883", "prefix": "peer", "s3": "http://...", "access_key": ..., "secret_key": ...,
        "bucket": ..., "rows": 20000, "interval_s": 10, "parser": "orjson"}'

`parser`: `json` (the standard library's), `orjson`, or `arrow` (documents joined by line and read by pyarrow.json).
Prints {"ready": true} once it is subscribed; ends at SIGTERM.
"""

import gc
import io
import json
import signal
import struct
import sys
import time

import boto3
import paho.mqtt.client as mqtt
import pyarrow as pa
import pyarrow.compute
import pyarrow.json as pj
import pyarrow.parquet as pq
from paho.mqtt.properties import Properties
from paho.mqtt.packettypes import PacketTypes

FRAME = struct.Struct("<IIBBHHH16sQ")
MOMENT = pa.timestamp("us", "UTC")
STAGES = ("decode_us", "preprocess_us", "queue_us", "inference_us", "total_us")
ORDER = [("site", "ascending"), ("gateway", "ascending"), ("corrected_at", "ascending"), ("epoch", "ascending"),
         ("seq", "ascending")]
HEADER = pa.schema([
    ("schema", pa.int64()), ("site", pa.string()), ("gateway", pa.string()), ("camera", pa.string()),
    ("region", pa.string()), ("epoch", pa.string()), ("seq", pa.int64()), ("captured_at", pa.string()),
    ("captured_source", pa.string()), ("monotonic_us", pa.int64()), ("boot_id", pa.string()),
    ("traceparent", pa.string()), ("model", pa.struct([("digest", pa.string()), ("version", pa.string())])),
    ("frame_id", pa.string())])
BODY = pa.schema([
    ("labels", pa.list_(pa.string())), ("scores", pa.list_(pa.float32())),
    ("latency", pa.struct([(stage, pa.int64()) for stage in STAGES])), ("engine", pa.string()),
    ("served_by", pa.string())])


def documents(message):
    """Header and body of each record in a bundle, as views."""
    view, at, end = memoryview(message), 4, len(message)
    unpack, number = FRAME.unpack_from, int.from_bytes
    while at < end:
        length = unpack(message, at)[0]
        header = at + 44
        body = header + number(view[header - 4:header], "little") + 4
        yield view[header:body - 4], view[body:body + number(view[body - 4:body], "little")]
        at += 8 + length


def column_by_column(headers, bodies):
    """Columns out of parsed documents."""
    def of(key, kind):
        return pa.array([header.get(key) for header in headers], kind)

    models = [header.get("model") or {} for header in headers]
    labels = [body["labels"] for body in bodies]
    scores = [body["scores"] for body in bodies]
    latencies = [body["latency"] for body in bodies]
    columns = {key: of(key, pa.string()) for key in
               ("site", "gateway", "camera", "region", "epoch", "captured_source", "boot_id", "traceparent", "frame_id")}
    columns |= {key: of(key, pa.int64()) for key in ("seq", "monotonic_us", "schema")}
    columns["captured_at"] = of("captured_at", pa.string())
    columns["model_digest"] = pa.array([model.get("digest") for model in models], pa.string())
    columns["model_version"] = pa.array([model.get("version") for model in models], pa.string())
    columns["label"] = pa.array([best[0] if best else "" for best in labels], pa.string())
    columns["score"] = pa.array([best[0] if best else 0.0 for best in scores], pa.float32())
    columns["labels"] = pa.array(labels, pa.list_(pa.string()))
    columns["scores"] = pa.array(scores, pa.list_(pa.float32()))
    for stage in STAGES:
        columns[stage] = pa.array([latency[stage] for latency in latencies], pa.int64())
    columns["engine"] = pa.array([body["engine"] for body in bodies], pa.string())
    columns["served_by"] = pa.array([body.get("served_by", "gateway") for body in bodies], pa.string())
    return columns


def read_by_arrow(headers, bodies):
    """Columns by Arrow's own JSON reader, one document a line."""
    def read(lines, schema):
        options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        table = pj.read_json(io.BytesIO(b"\n".join(lines)), parse_options=options,
                             read_options=pj.ReadOptions(use_threads=False, block_size=4 << 20))
        return table.combine_chunks()

    header, body = read(headers, HEADER), read(bodies, BODY)
    columns = {name: header.column(name) for name in header.column_names if name != "model"}
    model = header.column("model").chunk(0)
    columns["model_digest"], columns["model_version"] = model.field("digest"), model.field("version")
    for name in ("labels", "scores"):
        column = body.column(name).chunk(0)
        columns[name] = column
        columns[name[:-1]] = pa.compute.list_element(column, 0)
    for stage in STAGES:
        columns[stage] = body.column("latency").chunk(0).field(stage)
    columns["engine"], columns["served_by"] = body.column("engine"), body.column("served_by")
    return columns


NAMES = ["site", "gateway", "camera", "region", "epoch", "seq", "captured_at", "captured_source", "received_at",
         "clock_offset_us", "corrected_at", "monotonic_us", "boot_id", "traceparent", "model_digest", "model_version",
         "frame_id", "schema", "label", "score", "labels", "scores", *STAGES, "engine", "served_by"]


class Consumer:
    def __init__(self, options):
        self.options = options
        parser = options["parser"]
        if parser == "orjson":
            import orjson
            self.parse = orjson.loads
        elif parser == "json":
            self.parse = lambda view: json.loads(bytes(view))
        else:
            self.parse = bytes
        self.columns = read_by_arrow if parser == "arrow" else column_by_column
        self.s3 = boto3.client("s3", endpoint_url=options["s3"], region_name="us-east-1",
                               aws_access_key_id=options["access_key"], aws_secret_access_key=options["secret_key"])
        host, port = options["mqtt"].rsplit(":", 1)
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=options["prefix"],
                                  protocol=mqtt.MQTTv5)
        self.client.on_message = self.message
        self.client.on_connect = lambda client, *_: client.subscribe(f"{options['prefix']}/up/+/+/prediction", 1)
        self.client.on_subscribe = lambda *_: print(json.dumps({"ready": True}), flush=True)
        properties = Properties(PacketTypes.CONNECT)
        properties.ReceiveMaximum = 64
        self.client.connect(host, int(port), properties=properties)
        self.objects, self.marks = 0, {}
        self.clear()

    def clear(self):
        self.headers, self.bodies, self.received, self.since, self.touched = [], [], [], None, set()

    def message(self, _client, _userdata, message):
        now, before, payload = time.time_ns() // 1000, len(self.headers), message.payload
        parse, headers, bodies = self.parse, self.headers, self.bodies
        for header, body in documents(payload):
            headers.append(parse(header))
            bodies.append(parse(body))
        self.received.append((now, len(headers) - before))
        _, _, site, gateway, _ = message.topic.split("/")
        # Bundles of one log come in order: the last frame of this one says how far it goes.
        first = FRAME.unpack_from(payload, 4)
        upto = first[8] + len(headers) - before
        self.marks[site, gateway] = (first[7], max(upto, self.marks.get((site, gateway), (b"", 0))[1]))
        self.touched.add((site, gateway))
        self.since = self.since or time.monotonic()
        if len(headers) >= self.options["rows"]:
            self.flush()

    def flush(self):
        count = len(self.headers)
        columns = self.columns(self.headers, self.bodies)
        columns["captured_at"] = columns["captured_at"].cast(MOMENT)
        columns["corrected_at"] = columns["captured_at"]
        columns["clock_offset_us"] = pa.array([0] * count, pa.int64())
        columns["received_at"] = pa.array([at for at, n in self.received for _ in range(n)], MOMENT)
        table = pa.table([columns[name] for name in NAMES], names=NAMES).sort_by(ORDER)
        out = io.BytesIO()
        pq.write_table(table, out, compression="zstd", compression_level=3)
        key = f"peer/{time.strftime('date=%Y-%m-%d/hour=%H', time.gmtime())}/{time.time_ns():x}.parquet"
        self.s3.put_object(Bucket=self.options["bucket"], Key=key, Body=out.getvalue())
        self.objects += 1
        for site, gateway in self.touched:
            epoch, upto = self.marks[site, gateway]
            document = {"schema": 1, "lake": "peer", "incarnation": "peer",
                        "epochs": [{"epoch": epoch.hex(), "kinds": {"prediction": {"upto": upto}}}]}
            self.client.publish(f"{self.options['prefix']}/down/{site}/{gateway}/archived", json.dumps(document), qos=1,
                                retain=True)
        self.clear()

    def run(self):
        gc.disable()  # nothing here is cyclic, and looking for cycles in a hundred thousand dicts is dear
        while True:
            if self.client.loop(0.1) != mqtt.MQTT_ERR_SUCCESS:
                sys.exit("the broker is gone")
            if self.since and time.monotonic() - self.since >= self.options["interval_s"]:
                self.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    pa.set_cpu_count(1)
    Consumer(json.loads(sys.argv[1])).run()
