package spool.deployment;

import com.marcnuri.helm.Helm;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * Lints the chart in the first folder, and renders it once with each file `*.values.json` of the second: to `*.yaml` beside it, or, when Helm
 * refuses, to `*.refused` with its reason. The lint goes to `lint`. The engine takes a second to load, so that all of it is one run.
 */
public final class RenderChart {
  private static final String VALUES = ".values.json";

  public static void main(String[] args) throws Exception {
    Path chart = Path.of(args[0]);
    Path folder = Path.of(args[1]);
    var lint = new Helm(chart).lint().strict().call();
    Files.writeString(folder.resolve("lint"), (lint.isFailed() ? "failed\n" : "passed\n") + String.join("\n", lint.getMessages()));
    List<Path> files;
    try (var found = Files.list(folder)) {
      files = found.filter(file -> file.toString().endsWith(VALUES)).toList();
    }
    for (Path values : files) {
      String name = values.getFileName().toString().replace(VALUES, "");
      try {
        String rendered = new Helm(chart).template().withName("prod").withNamespace("events").withValuesFile(values).call();
        Files.writeString(folder.resolve(name + ".yaml"), rendered);
      } catch (RuntimeException refused) {
        Files.writeString(folder.resolve(name + ".refused"), String.valueOf(refused.getMessage()));
      }
    }
  }
}
