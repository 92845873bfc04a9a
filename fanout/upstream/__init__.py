"""One upstream call over HTTP: the client, the payload check, the words for what went wrong."""
