import java.util.concurrent.CountDownLatch;

import org.codelibs.opensearch.runner.OpenSearchRunner;

/**
 * One OpenSearch node for tests: {@code OpenSearchNode FOLDER HTTP_PORT TRANSPORT_PORT [SETTING=VALUE ...]}.
 *
 * <p>The runner's own main class builds a node without the ingest role, on ports of its own choice.
 */
public final class OpenSearchNode {
    public static void main(String[] arguments) throws InterruptedException {
        OpenSearchRunner runner = new OpenSearchRunner();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                runner.close();
            } catch (Exception error) {
                error.printStackTrace();
            }
        }));
        runner.onBuild((number, settings) -> {
            // The older names of the roles exclude the list.
            settings.remove("node.master");
            settings.remove("node.data");
            settings.putList("node.roles", "master", "data", "ingest");
            settings.put("network.host", "127.0.0.1");
            settings.put("http.port", arguments[1]);
            settings.put("transport.port", arguments[2]);
            for (int i = 3; i < arguments.length; i++) {
                String[] setting = arguments[i].split("=", 2);
                settings.put(setting[0], setting[1]);
            }
        });
        runner.build(OpenSearchRunner.newConfigs()
                .basePath(arguments[0])
                .clusterName("crossfade")
                .numOfNode(1)
                .useLogger()
                .build());
        new CountDownLatch(1).await();
    }
}
