// Google's implementation of GoogleSQL behind lines of JSON: one question a line on stdin, one answer a line on stdout.
//
//   {"op": "analyze", "sql", "dataset", "table", "columns", "others"} -> {}
//   {"op": "answer", "sql", "table", "columns", "rows"}            -> {"rows"}
//
// "columns" are pairs of a name and a type of GoogleSQL, "others" more tables by their names. Doubles are texts, times microseconds since 1970. What Google
// refuses is {"refused": its words}. https://github.com/google/zetasql/tree/master/java/com/google/zetasql

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.zetasql.Analyzer;
import com.google.zetasql.AnalyzerOptions;
import com.google.zetasql.LanguageOptions;
import com.google.zetasql.PreparedQuery;
import com.google.zetasql.SimpleCatalog;
import com.google.zetasql.SimpleColumn;
import com.google.zetasql.SimpleTable;
import com.google.zetasql.SqlException;
import com.google.zetasql.TableContent;
import com.google.zetasql.TypeFactory;
import com.google.zetasql.Value;
import com.google.zetasql.ZetaSQLBuiltinFunctionOptions;
import com.google.zetasql.ZetaSQLOptions.ErrorMessageMode;
import com.google.zetasql.ZetaSQLOptions.ProductMode;
import com.google.zetasql.ZetaSQLType.TypeKind;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

public class Driver {
  public static void main(String[] args) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    for (String line; (line = in.readLine()) != null; ) {
      JsonObject said;
      try {
        said = answer(JsonParser.parseString(line).getAsJsonObject());
      } catch (SqlException error) {
        said = new JsonObject();
        said.addProperty("refused", error.getMessage());
      }
      out.println(said);
    }
  }

  static JsonObject answer(JsonObject asked) {
    SimpleCatalog catalog = new SimpleCatalog("project");
    catalog.addZetaSQLFunctionsAndTypes(new ZetaSQLBuiltinFunctionOptions(options().getLanguageOptions()));
    String name = asked.get("table").getAsString();
    String sql = asked.get("sql").getAsString();
    List<TypeKind> kinds = new ArrayList<>();
    SimpleTable table = table(name, asked.getAsJsonArray("columns"), kinds);
    JsonObject said = new JsonObject();
    if (asked.get("op").getAsString().equals("analyze")) {
      SimpleCatalog dataset = catalog.addNewSimpleCatalog(asked.get("dataset").getAsString());
      dataset.addSimpleTable(table);
      asked.getAsJsonObject("others").entrySet().forEach(other -> dataset.addSimpleTable(
          table(other.getKey(), other.getValue().getAsJsonArray(), new ArrayList<>())));
      try {
        Analyzer.analyzeStatement(sql, options(), catalog);
      } catch (SqlException error) {
        // it was analysed, and the resolved tree that comes back nests deeper than protobuf reads in Java
        if (!(root(error) instanceof InvalidProtocolBufferException)) {
          throw error;
        }
      }
      return said;
    }
    catalog.addSimpleTable(table);
    List<List<Value>> rows = new ArrayList<>();
    for (JsonElement given : asked.getAsJsonArray("rows")) {
      List<Value> row = new ArrayList<>();
      for (int i = 0; i < kinds.size(); i++) {
        row.add(value(kinds.get(i), given.getAsJsonArray().get(i)));
      }
      rows.add(row);
    }
    JsonArray found = new JsonArray();
    try (PreparedQuery query = PreparedQuery.builder().setSql(sql).setAnalyzerOptions(options()).setCatalog(catalog)
        .setTablesContents(Map.of(name, TableContent.create(rows))).prepare()) {
      for (List<Value> row : query.execute(Map.of()).getTableData()) {
        JsonArray cells = new JsonArray();
        row.forEach(cell -> cells.add(json(cell)));
        found.add(cells);
      }
    }
    said.add("rows", found);
    return said;
  }

  static SimpleTable table(String name, JsonArray pairs, List<TypeKind> kinds) {
    List<SimpleColumn> columns = new ArrayList<>();
    for (JsonElement pair : pairs) {
      kinds.add(kind(pair.getAsJsonArray().get(1).getAsString()));
      columns.add(new SimpleColumn(name, pair.getAsJsonArray().get(0).getAsString(),
          TypeFactory.createSimpleType(kinds.get(kinds.size() - 1))));
    }
    return new SimpleTable(name, columns);
  }

  static Throwable root(Throwable error) {
    return error.getCause() == null ? error : root(error.getCause());
  }

  // as BigQuery has it: no type of 32 bits, every feature that is released
  static AnalyzerOptions options() {
    LanguageOptions language = new LanguageOptions();
    language.enableMaximumLanguageFeatures();
    language.setProductMode(ProductMode.PRODUCT_EXTERNAL);
    language.setSupportsAllStatementKinds();
    AnalyzerOptions made = new AnalyzerOptions();
    made.setLanguageOptions(language);
    made.setErrorMessageMode(ErrorMessageMode.ERROR_MESSAGE_ONE_LINE);
    made.setDefaultTimezone("UTC");
    return made;
  }

  static TypeKind kind(String name) {
    return TypeKind.valueOf("TYPE_" + (name.equals("FLOAT64") ? "DOUBLE" : name));
  }

  static Value value(TypeKind kind, JsonElement cell) {
    if (cell.isJsonNull()) {
      return Value.createSimpleNullValue(kind);
    }
    switch (kind) {
      case TYPE_INT64:
        return Value.createInt64Value(cell.getAsLong());
      case TYPE_DOUBLE:
        return Value.createDoubleValue(Double.parseDouble(cell.getAsString()));
      case TYPE_BOOL:
        return Value.createBoolValue(cell.getAsBoolean());
      case TYPE_STRING:
        return Value.createStringValue(cell.getAsString());
      case TYPE_TIMESTAMP:
        return Value.createTimestampValueFromUnixMicros(cell.getAsLong());
      case TYPE_BIGNUMERIC:
        return Value.createBigNumericValue(new BigDecimal(cell.getAsString()));
      default:
        throw new IllegalArgumentException("a column of " + kind);
    }
  }

  static JsonElement json(Value cell) {
    if (cell.isNull()) {
      return JsonNull.INSTANCE;
    }
    switch (cell.getType().getKind()) {
      case TYPE_INT64:
        return new JsonPrimitive(cell.getInt64Value());
      case TYPE_DOUBLE:
        return new JsonPrimitive(Double.toString(cell.getDoubleValue()));
      case TYPE_BOOL:
        return new JsonPrimitive(cell.getBoolValue());
      case TYPE_STRING:
        return new JsonPrimitive(cell.getStringValue());
      case TYPE_BIGNUMERIC:
        return new JsonPrimitive(cell.getBigNumericValue().toPlainString());
      default:
        throw new IllegalArgumentException("an answer of " + cell.getType());
    }
  }
}
