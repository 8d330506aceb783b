import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** PUT /key keeps a value in memory, GET /key gives it, GET / says how many there are. */
public class KeyValue {
  private static final Map<String, byte[]> values = new ConcurrentHashMap<>();

  public static void main(String[] args) throws IOException {
    HttpServer server = HttpServer.create(new InetSocketAddress(8080), 0);
    server.createContext("/", KeyValue::answer);
    server.start();
  }

  private static void answer(HttpExchange exchange) throws IOException {
    try (exchange) {
      String key = exchange.getRequestURI().getPath().substring(1);
      if (exchange.getRequestMethod().equals("PUT")) {
        values.put(key, exchange.getRequestBody().readAllBytes());
        exchange.sendResponseHeaders(204, -1);
        return;
      }
      byte[] value = key.isEmpty() ? Integer.toString(values.size()).getBytes() : values.get(key);
      if (value == null) {
        exchange.sendResponseHeaders(404, -1);
        return;
      }
      exchange.sendResponseHeaders(200, value.length == 0 ? -1 : value.length);
      if (value.length > 0) exchange.getResponseBody().write(value);
    }
  }
}
