"""The embedded S3 server through the AWS command line: cp, sync, ls, mv, rm, presign, s3api.

Usage: s3_cli.py ENDPOINT ACCESS_KEY SECRET_KEY BUCKET
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

endpoint, access_key, secret_key, bucket = sys.argv[1:5]
program = pathlib.Path(sys.executable).parent / "aws"
environment = os.environ | {
    "AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key, "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true",
}


def aws(*arguments, fails=False):
    done = subprocess.run(
        [sys.executable, program, "--endpoint-url", endpoint, *arguments], env=environment, capture_output=True, text=True
    )
    assert (done.returncode != 0) == fails, (arguments, done.stdout, done.stderr)
    return done.stderr if fails else done.stdout


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    tree = folder / "tree"
    for name in ["a.txt", "deep/er/b c.txt", "deep/ü.txt"]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    large = folder / "large.bin"
    large.write_bytes(os.urandom(1 << 20) * 17)  # beyond the 8 MiB at which it turns to multipart uploads
    aws("s3", "cp", str(large), f"s3://{bucket}/cli/large.bin", "--no-progress")
    aws("s3", "cp", f"s3://{bucket}/cli/large.bin", str(folder / "back.bin"), "--no-progress")
    assert (folder / "back.bin").read_bytes() == large.read_bytes()
    aws("s3", "sync", str(tree), f"s3://{bucket}/cli/tree", "--no-progress")
    assert aws("s3", "sync", str(tree), f"s3://{bucket}/cli/tree", "--no-progress") == ""
    aws("s3", "mv", f"s3://{bucket}/cli/tree/a.txt", f"s3://{bucket}/cli/moved.txt", "--no-progress")
    listed = aws("s3", "ls", "--recursive", f"s3://{bucket}/cli/")
    names = sorted(line.split(None, 3)[3] for line in listed.splitlines())
    assert names == ["cli/large.bin", "cli/moved.txt", "cli/tree/deep/er/b c.txt", "cli/tree/deep/ü.txt"], names
    assert "PRE tree/" in aws("s3", "ls", f"s3://{bucket}/cli/")
    head = json.loads(aws("s3api", "head-object", "--bucket", bucket, "--key", "cli/moved.txt", "--output", "json"))
    assert head["ContentType"] == "text/plain" and head["ContentLength"] == 5, head
    url = aws("s3", "presign", f"s3://{bucket}/cli/moved.txt").strip()
    assert urllib.request.urlopen(url).read() == b"a.txt"
    assert "NoSuchBucket" in aws("s3", "ls", "s3://absent-bucket/", fails=True)
    aws("s3", "mb", "s3://made-by-cli")
    assert "made-by-cli" in aws("s3", "ls")
    aws("s3", "rb", "s3://made-by-cli")
    aws("s3", "rm", "--recursive", f"s3://{bucket}/cli/", "--quiet")
    left = aws("s3api", "list-objects-v2", "--bucket", bucket, "--prefix", "cli/", "--output", "json")
    assert "Contents" not in json.loads(left or "{}")
print("aws ok")
