"""The embedded S3 server through DuckDB's httpfs (loaded from its wheel, offline) and Polars: hive-partitioned Parquet.

Usage: s3_query.py ENDPOINT ACCESS_KEY SECRET_KEY BUCKET
"""

import sys

import duckdb
import duckdb_extensions
import polars

endpoint, access_key, secret_key, bucket = sys.argv[1:5]
address = endpoint.removeprefix("http://")

duck = duckdb.connect()
duckdb_extensions.import_extension("httpfs")
duck.execute("SET autoinstall_known_extensions = false; LOAD httpfs")
duck.execute(
    f"CREATE SECRET (TYPE s3, KEY_ID '{access_key}', SECRET '{secret_key}', ENDPOINT '{address}', URL_STYLE 'path', "
    "USE_SSL false, REGION 'us-east-1')"
)

# DuckDB writes the lake's layout, by multipart uploads, and reads it back with partitions pruned.
duck.execute(
    "CREATE TABLE rows AS SELECT i AS seq, 'camera-' || (i % 3) AS camera, i / 7.0 AS score, "
    "DATE '2026-11-23' + CAST(i // 60000 AS INTEGER) AS date, i % 8 AS hour FROM range(120000) r(i)"
)
lake = f"s3://{bucket}/query/kind=prediction"
duck.execute(f"COPY rows TO '{lake}' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (date, hour))")
everything = f"read_parquet('{lake}/**/*.parquet', hive_partitioning = true)"
assert duck.execute(f"SELECT count(*), CAST(sum(seq) AS BIGINT) FROM {everything}").fetchone() == (120000, 7199940000)
counted = duck.execute(
    f"SELECT camera, count(*) FROM {everything} WHERE date = DATE '2026-11-24' AND hour < 6 GROUP BY camera ORDER BY camera"
).fetchall()
assert counted == [("camera-0", 15000), ("camera-1", 15000), ("camera-2", 15000)], counted
assert len(duck.execute(f"SELECT file FROM glob('{lake}/*/*/*.parquet')").fetchall()) >= 16

options = {
    "aws_access_key_id": access_key, "aws_secret_access_key": secret_key, "aws_endpoint_url": endpoint,
    "aws_region": "us-east-1", "aws_allow_http": "true", "aws_virtual_hosted_style_request": "false",
}
frame = polars.scan_parquet(f"{lake}/**/*.parquet", storage_options=options, hive_partitioning=True)
found = frame.filter(polars.col("hour") == 5).select(polars.len(), polars.col("seq").sum()).collect().row(0)
assert found == duck.execute("SELECT count(*), CAST(sum(seq) AS BIGINT) FROM rows WHERE hour = 5").fetchone(), found
one = frame.filter(polars.col("camera") == "camera-1").select("seq", "score")
one.sink_parquet(f"s3://{bucket}/query/polars.parquet", storage_options=options)
assert polars.read_parquet(f"s3://{bucket}/query/polars.parquet", storage_options=options).height == 40000
print("duckdb", duckdb.__version__, "polars", polars.__version__, "ok")
