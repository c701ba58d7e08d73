"""Import jobs as another program submits and follows them, over the gateway's HTTP."""

import httpx

from tickstock_pipeline_tests.e2e.waiting import wait_until


class Jobs:
    """The gateway's import jobs."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/jobs"

    def submit(self, job_id: str, symbols: list[str], year: int, **wishes: object) -> None:
        message = {"job_id": job_id, "job_type": "historical_load", "symbols": symbols, "timeframes": ["daily"]}
        dates = {"start_date": f"{year}-01-01", "end_date": f"{year}-12-31"}
        assert httpx.post(self._url, json={**message, **dates, **wishes}, timeout=30).status_code == 202

    def status(self, job_id: str) -> dict[str, object]:
        return httpx.get(f"{self._url}/{job_id}", timeout=30).json()

    def completed(self, job_id: str) -> dict[str, object]:
        """How a job stands once it is over, well."""
        wait_until(lambda: self.status(job_id)["status"] not in {"queued", "running"}, f"{job_id} is not over")
        found = self.status(job_id)
        assert found["status"] == "completed", found
        return found
