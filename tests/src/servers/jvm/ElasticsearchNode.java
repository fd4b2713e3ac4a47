import java.util.concurrent.CountDownLatch;

import org.codelibs.elasticsearch.runner.ElasticsearchClusterRunner;

/**
 * One Elasticsearch node for tests: {@code ElasticsearchNode FOLDER HTTP_PORT TRANSPORT_PORT [SETTING=VALUE ...]}.
 *
 * <p>The runner's own main class builds a node without the ingest role, on ports of its own choice.
 */
public final class ElasticsearchNode {
    public static void main(String[] arguments) throws InterruptedException {
        ElasticsearchClusterRunner runner = new ElasticsearchClusterRunner();
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
        runner.build(ElasticsearchClusterRunner.newConfigs()
                .basePath(arguments[0])
                .clusterName("crossfade")
                .numOfNode(1)
                .useLogger()
                .build());
        new CountDownLatch(1).await();
    }
}
