import asyncio
import os

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.get("/")
async def index():
    return {"generation": os.environ.get("TIDEOVER_GENERATION")}


@app.websocket("/ws")
async def chat(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.send_text("echo: " + await socket.receive_text())
    except WebSocketDisconnect:
        pass


@app.get("/events")
async def events(n: int = 10):
    async def stream():
        for i in range(n):
            yield f"data: {i}\n\n"
            await asyncio.sleep(0.5)

    return StreamingResponse(stream(), media_type="text/event-stream")
