"""Uploads to one bucket of an S3-compatible service, signed with AWS Signature Version 4, by the standard library."""

import datetime
import hashlib
import hmac
import http.client
import threading
import urllib.parse

CONNECT_SECONDS = 10
ANSWER_SECONDS = 60
SAFE = "-_.~"  # what the signature's URI encoding leaves as it is


class UploadFailed(Exception):
    """The object may or may not be there; uploading it again does no harm."""


class Bucket:
    """A connection for each thread, kept open between uploads. The bucket is made when it is missing."""

    def __init__(self, url: str, bucket: str, region: str, key: str, secret: str):
        parsed = urllib.parse.urlsplit(url)
        if parsed.scheme not in ("http", "https") or not parsed.hostname:
            raise SystemExit(f"s3: {url} is no http or https URL")
        self.parsed, self.bucket, self.region, self.key, self.secret = parsed, bucket, region, key, secret
        self.base = parsed.path.rstrip("/")
        self.thread = threading.local()

    def put(self, name: str, data: bytes, metadata: dict[str, str]) -> None:
        headers = {f"x-amz-meta-{key}": urllib.parse.quote(value, safe="@,+") for key, value in metadata.items()}
        headers["content-type"] = "message/rfc822"
        path = f"/{self.bucket}/{name}"
        status, reason = self.request("PUT", path, data, headers)
        if status == 404:
            self.request("PUT", f"/{self.bucket}", b"", {})
            status, reason = self.request("PUT", path, data, headers)
        if status != 200:
            raise UploadFailed(f"{status} {reason}")

    def request(self, method: str, path: str, data: bytes, headers: dict[str, str]) -> tuple[int, str]:
        """One request; a second try when the connection that was kept open turns out to be gone."""
        path = self.base + urllib.parse.quote(path, safe="/" + SAFE)
        while True:
            kept = getattr(self.thread, "connection", None)
            connection = kept or self.connect()
            self.thread.connection = None
            try:
                connection.request(method, path, data, self.sign(method, path, data, headers))
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if kept and not isinstance(error, TimeoutError):
                    continue
                raise UploadFailed(f"{type(error).__name__}: {error}") from error
            if not answer.will_close:
                self.thread.connection = connection
            return answer.status, answer.reason

    def connect(self) -> http.client.HTTPConnection:
        secure = self.parsed.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self.parsed.hostname, self.parsed.port, timeout=CONNECT_SECONDS)
        try:
            connection.connect()
        except OSError as error:
            raise UploadFailed(f"no connection to {self.parsed.netloc}: {error}") from error
        connection.sock.settimeout(ANSWER_SECONDS)
        return connection

    def sign(self, method: str, path: str, data: bytes, headers: dict[str, str]) -> dict[str, str]:
        """The headers with the signature's own (AWS General Reference, Signature Version 4)."""
        now = datetime.datetime.now(datetime.timezone.utc)
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        digest = hashlib.sha256(data).hexdigest()
        signed = {**headers, "host": self.parsed.netloc, "x-amz-content-sha256": digest, "x-amz-date": stamp}
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name].strip()}\n" for name in sorted(signed))
        canonical = f"{method}\n{path}\n\n{lines}\n{names}\n{digest}"
        scope = f"{day}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{self.secret}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return signed
