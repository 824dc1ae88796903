"""Model names that MLflow allows and that are difficult in a URL."""

HOSTILE = (
    "api it's 100% wörld ☃.v1",
    "api percent %2F name",
    "api..dots",
    "api{braces}",
    'api "quotes" & <tags>',
    "api+plus",
)
