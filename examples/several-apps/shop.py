def app(environ, start_response):
    body = b"shop\n"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
