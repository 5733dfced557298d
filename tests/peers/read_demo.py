"""Reads a running hub's topics and lake with clients that others wrote, and compares what they find.

    read_demo.py --state DIR [--live N] [--expect N]

DIR is the hub's state folder (`make demo` prints it). paho-mqtt watches the live lane by MQTT 3.1.1 and by MQTT 5 until
both have seen N predictions; boto3 lists and reads the objects, DuckDB and Polars query the same Parquet. All must find
the same counts and labels; what was live must stand in the lake; each sample's picture must have the digest of its row.
"""

import argparse
import collections
import hashlib
import json
import pathlib
import threading
import time

import boto3
import duckdb
import paho.mqtt.client as mqtt
import polars

PATIENCE_S = 60


def watch(address, prefix, protocol, wanted):
    """Live predictions as (epoch, seq) -> labels, once `wanted` have come."""
    host, port = address.rsplit(":", 1)
    seen, enough = {}, threading.Event()

    def on_connect(client, *_):
        client.subscribe(f"{prefix}/live/+/+/+/+/prediction")

    def on_message(_, __, message):
        prediction = json.loads(message.payload)
        seen[prediction["epoch"], prediction["seq"]] = prediction["labels"]
        if len(seen) >= wanted:
            enough.set()

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=protocol)
    client.on_connect, client.on_message = on_connect, on_message
    client.connect(host, int(port))
    client.loop_start()
    assert enough.wait(PATIENCE_S), f"only {len(seen)} of {wanted} predictions came in {PATIENCE_S} s"
    client.loop_stop()
    client.disconnect()
    return seen


class Lake:
    """The same Parquet objects, three ways."""

    def __init__(self, s3):
        self.s3 = s3
        self.client = boto3.client(
            "s3", endpoint_url=s3["endpoint"], region_name=s3["region"],
            aws_access_key_id=s3["access_key"], aws_secret_access_key=s3["secret_key"])

    def keys(self, prefix):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.s3["bucket"], Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def bytes(self, key):
        return self.client.get_object(Bucket=self.s3["bucket"], Key=key)["Body"].read()

    def slice(self, key, offset, length):
        wanted = f"bytes={offset}-{offset + length - 1}"
        return self.client.get_object(Bucket=self.s3["bucket"], Key=key, Range=wanted)["Body"].read()

    def polars(self, kind):
        options = {
            "aws_access_key_id": self.s3["access_key"], "aws_secret_access_key": self.s3["secret_key"],
            "aws_endpoint_url": self.s3["endpoint"], "aws_region": self.s3["region"], "aws_allow_http": "true"}
        path = f"s3://{self.s3['bucket']}/lake/kind={kind}/**/*.parquet"
        # `hour=07` must not become the number 7 in one file and text in another.
        return polars.scan_parquet(path, storage_options=options, hive_partitioning=False).collect()

    def duckdb(self):
        from duckdb_extensions import import_extension
        connection = duckdb.connect(config={"autoinstall_known_extensions": False})
        import_extension("httpfs", con=connection)
        endpoint = self.s3["endpoint"].split("://", 1)[1]
        connection.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{self.s3['access_key']}', SECRET '{self.s3['secret_key']}', "
            f"ENDPOINT '{endpoint}', REGION '{self.s3['region']}', URL_STYLE 'path', USE_SSL false)")
        return connection


def same(what, **found):
    values = list(found.values())
    assert all(value == values[0] for value in values), f"{what} differ: {found}"
    print(f"{what}: {', '.join(found)} agree on {values[0] if not hasattr(values[0], 'items') else dict(values[0])}")


def compare(lake, live, expect):
    table, objects = lake.polars("prediction"), lake.keys("lake/kind=prediction/")
    rows = dict(zip(zip(table["epoch"], table["seq"]), table["labels"].to_list()))
    assert len(rows) == len(table), "a prediction stands twice"
    labels = collections.Counter(table["label"].to_list())
    connection = lake.duckdb()
    files = [f"s3://{lake.s3['bucket']}/{key}" for key in objects]
    query = f"SELECT label, count(*) FROM read_parquet({files}, hive_partitioning=false) GROUP BY label"
    same("labels", polars=labels, duckdb=collections.Counter(dict(connection.sql(query).fetchall())))
    if expect is not None:
        same("predictions", expected=expect, polars=len(table), duckdb=sum(dict(connection.sql(query).fetchall()).values()))
    missing = [address for address in live if address not in rows]
    assert not missing, f"live predictions that are not in the lake: {missing[:5]}"
    assert all(rows[address] == labels for address, labels in live.items()), "labels differ between live and lake"
    print(f"live: all {len(live)} predictions stand in the lake with the same labels")


def check_pictures(lake):
    samples = lake.polars("sample") if lake.keys("lake/kind=sample/") else []
    for row in samples.iter_rows(named=True) if len(samples) else []:
        picture = lake.slice(row["shard"], row["picture_offset"], row["picture_bytes"])
        assert "sha256:" + hashlib.sha256(picture).hexdigest() == row["picture_sha256"], f"picture of {row['frame_id']}"
        assert picture[:2] == b"\xff\xd8" or picture[:4] == b"\x89PNG"
    print(f"pictures: {len(samples)}, each with the digest of its row")


def until_archived(lake, live):
    """What was live needs a flush to be in the lake."""
    deadline = time.monotonic() + PATIENCE_S
    while live and time.monotonic() < deadline:
        table = lake.polars("prediction")
        if set(live) <= set(zip(table["epoch"], table["seq"])):
            return
        time.sleep(0.2)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--state", type=pathlib.Path, required=True)
    arguments.add_argument("--live", type=int, default=0)
    arguments.add_argument("--expect", type=int)
    arguments = arguments.parse_args()
    endpoints = json.loads((arguments.state / "endpoints.json").read_text())
    lake, live = Lake(endpoints["s3"]), {}
    if arguments.live:
        address = endpoints["mqtt"].split("://")[-1]
        for name, protocol in (("3.1.1", mqtt.MQTTv311), ("5", mqtt.MQTTv5)):
            seen = watch(address, endpoints.get("prefix", "sightline"), protocol, arguments.live)
            print(f"MQTT {name}: {len(seen)} predictions")
            live |= seen
        until_archived(lake, live)
    compare(lake, live, arguments.expect)
    check_pictures(lake)


main()
