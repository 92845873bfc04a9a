"""The API's documentation: `/openapi.json`, and the page `/docs` that is made of it."""
