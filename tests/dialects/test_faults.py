import pytest

from masa_node.dialects.faults import error_status, error_text, is_bare_error, is_json_error, no_answer

STATUSES = [
    (b'{"error":{"code":400,"message":"m"}}', 400),
    (b'{"error":{"code":"429","message":"m"}}', 429),
    (b'{"error":{"status":503,"message":"m"}}', 503),
    (b'{"error":{"message":"m","type":"exceed_context_size_error"}}', 400),
    (b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}', 529),
    (b'{"type":"error","error":{"type":"rate_limit_error","message":"m"}}', 429),
    (b'{"error":{"message":"m","type":"BadRequestError","code":null}}', 400),
    (b'{"error":{"message":"m","code":"context_length_exceeded","type":"invalid_request_error"}}', 400),
    (b'{"object":"error","message":"m","code":404}', 404),
    (b'{"error":"m","status_code":500}', 500),
    (b'{"error":"m","statusCode":502}', 502),
    (b'{"StatusCode":401,"Status":"401 Unauthorized","error":"m"}', 401),
    (b'{"type":"response.failed","response":{"error":{"code":"invalid_prompt","message":"m"}}}', 400),
    (b'{"error":{"message":"m","code":"invalid_image_format"}}', 400),
    (b'{"code":401,"msg":"m","success":false}', 401),
    (b'[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]', 400),
    (b'{"error":{"message":"m","status":"RESOURCE_EXHAUSTED"}}', 429),
    (b'{"success":false,"errors":[{"code":3040,"message":"m"}]}', 429),
    (b'{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","message":"m"}}}', 429),
    (b'{"type":"error","code":"invalid_request_error","message":"m"}', 400),
    (b'{"error":{"message":"m","http_status_code":422}}', 422),  # text-generation-inference 2668
    (b'{"error":"m","error_type":"overloaded"}', 529),  # text-generation-inference
    (b'{"text":"m","error_code":50002}', 500),  # FastChat
    (b'{"text":"m","error_code":42903}', 429),
    (b'{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"m"}', 404),  # Databricks
    (b'{"error_code":"TEMPORARILY_UNAVAILABLE","message":"m"}', 503),
    (b'{"choices":null,"base_resp":{"status_code":1008,"status_msg":"m"}}', 402),  # inferera-gateway 1123
    (b'{"base_resp":{"status_code":2013,"status_msg":"m"}}', 400),
    (b'{"error":{"message":"m","code":"429"},"base_resp":{"status_code":0,"status_msg":"success"}}', 429),
]


@pytest.mark.parametrize(("data", "status"), STATUSES)
def test_an_error_tells_its_status_wherever_it_puts_it(data: bytes, status: int) -> None:
    assert error_status(data) == status
    assert error_text(data) == "m"
    assert is_bare_error(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"error":{"message":"m"}}',
        b'{"error":{"message":"m","code":200}}',
        b'{"error":{"message":"m","code":700}}',
        b'{"error":{"message":"m","code":"4000"}}',
        b'{"error":{"message":"m","code":true,"type":1}}',
        b'{"error":{"message":"m","code":400.5}}',
        b'{"error":{"message":"m","code":1008}}',
        b'{"base_resp":{"status_code":1000,"status_msg":"m"}}',
        b'{"text":"m","error_code":7}',
        b'{"error":"m"}',
        b"m",
        b"",
    ],
)
def test_what_names_no_status_of_an_error_has_none(data: bytes) -> None:
    assert error_status(data) is None


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"detail":"Not authenticated"}', "Not authenticated"),
        (b'{"detail":[{"loc":["body"],"msg":"field required"}]}', "field required"),
        (b'{"error":"m","error_description":"more"}', "m"),
        (b'{"error_description":"more"}', "more"),
        (b'{"errors":["m"]}', "m"),
        (b'{"title":"Bad gateway","status":502}', "Bad gateway"),
        (b'{"error":{"error":{"message":"inner"}}}', "inner"),
        (b'{"x":1}', None),
        (b"[1]", None),
    ],
)
def test_the_words_are_found_wherever_they_are(data: bytes, text: str | None) -> None:
    assert error_text(data) == text


WELL = b'{"data":{},"base_resp":{"status_code":0,"status_msg":"success"}}'


@pytest.mark.parametrize(
    "data",
    [
        *(b'{"x":1}', b'{"message":"hello"}', b'{"code":400}', b"[]", b"hello", b"[" * 5_000, WELL),
        *(b'{"text":"hello","error_code":0}', b'{"message":"hello","error_code":""}'),
    ],
)
def test_what_only_looks_a_little_like_an_error_is_none(data: bytes) -> None:
    assert not is_bare_error(data)
    assert no_answer(data, "why") == "why"


def test_lists_of_objects_can_be_passed_on_as_errors_too() -> None:
    assert is_json_error(b'[{"error":{}}]')
    assert is_json_error(b'\xef\xbb\xbf{"error":{}}')
    assert not is_json_error(b"[1]")
    assert not is_json_error(b"<html>")


def test_an_error_in_a_long_list_costs_no_more_than_in_a_short_one() -> None:
    assert error_text(b"[" + b"{}," * 100_000 + b'{"message":"late"}]') is None
