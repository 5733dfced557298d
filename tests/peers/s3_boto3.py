"""The embedded S3 server through boto3, with its own defaults: transfers, presigned URLs, listings, errors.

Usage: s3_boto3.py ENDPOINT ACCESS_KEY SECRET_KEY BUCKET
"""

import hashlib
import io
import sys
import urllib.error
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, access_key, secret_key, bucket = sys.argv[1:5]


def client(secret=secret_key, **options):
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="eu-central-1", aws_access_key_id=access_key,
        aws_secret_access_key=secret, config=Config(retries={"max_attempts": 1}, **options),
    )


def code(call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


s3 = client(s3={"addressing_style": "path"})
body = bytes(range(256)) * 1000

put = s3.put_object(Bucket=bucket, Key="py/ü ñ+&.bin", Body=body, ContentType="image/jpeg", Metadata={"camera": "front"})
assert put["ETag"].strip('"') == hashlib.md5(body).hexdigest()
got = s3.get_object(Bucket=bucket, Key="py/ü ñ+&.bin")
assert got["Body"].read() == body and got["ContentType"] == "image/jpeg" and got["Metadata"] == {"camera": "front"}
assert s3.get_object(Bucket=bucket, Key="py/ü ñ+&.bin", Range="bytes=10-19")["Body"].read() == body[10:20]
for algorithm in ["CRC32", "SHA1", "SHA256"]:
    put = s3.put_object(Bucket=bucket, Key="py/sum", Body=body, ChecksumAlgorithm=algorithm)
    head = s3.head_object(Bucket=bucket, Key="py/sum", ChecksumMode="ENABLED")
    assert head["Checksum" + algorithm] == put["Checksum" + algorithm], (algorithm, head)
assert code(s3.put_object, Bucket=bucket, Key="py/sum", Body=b"", IfNoneMatch="*") == "PreconditionFailed"
assert code(s3.get_object, Bucket=bucket, Key="absent") == "NoSuchKey"
assert code(s3.get_object, Bucket="absent", Key="k") == "NoSuchBucket"
assert code(client(secret="wrong").list_objects_v2, Bucket=bucket) == "SignatureDoesNotMatch"

# The transfer manager: 20 MiB in parts, up by threads and down by ranges.
large = hashlib.sha256(b"seed").digest() * (20 * 32768)
config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=6 << 20, max_concurrency=4)
s3.upload_fileobj(io.BytesIO(large), bucket, "py/large", Config=config)
assert s3.head_object(Bucket=bucket, Key="py/large")["ETag"].endswith('-4"')
back = io.BytesIO()
s3.download_fileobj(bucket, "py/large", back, Config=config)
assert back.getvalue() == large
s3.copy({"Bucket": bucket, "Key": "py/large"}, bucket, "py/copied", Config=config)
assert s3.head_object(Bucket=bucket, Key="py/copied")["ContentLength"] == len(large)

# Presigned URLs need no credentials, and cannot be changed.
url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "py/by url"}, ExpiresIn=60)
urllib.request.urlopen(urllib.request.Request(url, data=b"from a URL", method="PUT")).read()
url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "py/by url"}, ExpiresIn=60)
assert urllib.request.urlopen(url).read() == b"from a URL"
for refused in [url.replace("by%20url", "sum"), url.replace("Expires=60", "Expires=600"), f"{endpoint}/{bucket}/py/sum"]:
    try:
        urllib.request.urlopen(refused)
        raise AssertionError(refused)
    except urllib.error.HTTPError as error:
        assert error.code == 403, error

keys = [f"many/{i:04}/{odd}" for i in range(260) for odd in ["a b", "c%+d", "é", "f&<"]]
for key in keys:
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
ordered = sorted(keys, key=lambda key: key.encode())
pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="many/")
assert [o["Key"] for page in pages for o in page["Contents"]] == ordered
pages = s3.get_paginator("list_objects").paginate(Bucket=bucket, Prefix="many/", PaginationConfig={"PageSize": 333})
assert [o["Key"] for page in pages for o in page["Contents"]] == ordered
pages = s3.get_paginator("list_objects_v2").paginate(
    Bucket=bucket, Prefix="many/", Delimiter="/", PaginationConfig={"PageSize": 100}
)
assert len([p for page in pages for p in page["CommonPrefixes"]]) == 260
for i in range(0, len(keys), 1000):
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys[i:i + 1000]]})
    assert "Errors" not in deleted and len(deleted["Deleted"]) == len(keys[i:i + 1000])
assert s3.list_objects_v2(Bucket=bucket, Prefix="many/")["KeyCount"] == 0

resource = boto3.resource(
    "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=access_key, aws_secret_access_key=secret_key
)
assert bucket in [b.name for b in resource.buckets.all()]
resource.Bucket(bucket).objects.filter(Prefix="py/").delete()
print("boto3", boto3.__version__, "ok")
