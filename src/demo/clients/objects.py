"""Lists a bucket. usage: objects.py URL BUCKET. Prints a JSON array of {"key", "bytes", "sha256"}, of each object's contents."""

import hashlib
import json
import sys

import boto3
from botocore.exceptions import ClientError

URL, BUCKET = sys.argv[1:]
s3 = boto3.client(
    "s3", endpoint_url=URL, region_name="us-east-1", aws_access_key_id="quorate", aws_secret_access_key="quorate-secret"
)
objects = []
try:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for entry in page.get("Contents", []):
            body = s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
            digest = hashlib.sha256(body).hexdigest()
            objects.append({"key": entry["Key"], "bytes": len(body), "sha256": digest})
except ClientError as error:
    if error.response["Error"]["Code"] != "NoSuchBucket":
        raise
json.dump(objects, sys.stdout)
