import { createServer } from "node:http";

/** PUT /key keeps a value in memory, GET /key gives it, GET / says how many there are. */

const values = new Map();

createServer(async (request, response) => {
  const key = request.url.slice(1);
  if (request.method === "PUT") {
    values.set(key, Buffer.concat(await request.toArray()));
    response.writeHead(204).end();
    return;
  }
  const value = key === "" ? `${values.size}` : values.get(key);
  response.writeHead(value === undefined ? 404 : 200).end(value);
}).listen(8080);
