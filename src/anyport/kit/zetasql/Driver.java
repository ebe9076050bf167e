// Google's implementation of GoogleSQL behind lines of JSON: one question a line on stdin, one answer a line on stdout.
//
//   {"op": "analyze", "sql", "dataset", "tables"}     -> {}
//   {"op": "answer", "sql", "dataset", "tables"}      -> {"columns", "rows"}
//
// "tables" are {name: {"columns", "rows"}}, "columns" pairs of a name and a type of GoogleSQL. Doubles are texts, times microseconds since 1970. What Google
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
import com.google.zetasql.ArrayType;
import com.google.zetasql.LanguageOptions;
import com.google.zetasql.PreparedQuery;
import com.google.zetasql.SimpleCatalog;
import com.google.zetasql.SimpleColumn;
import com.google.zetasql.SimpleTable;
import com.google.zetasql.SqlException;
import com.google.zetasql.StructType;
import com.google.zetasql.StructType.StructField;
import com.google.zetasql.TableContent;
import com.google.zetasql.Type;
import com.google.zetasql.TypeFactory;
import com.google.zetasql.Value;
import com.google.zetasql.ZetaSQLBuiltinFunctionOptions;
import com.google.zetasql.ZetaSQLOptions.ErrorMessageMode;
import com.google.zetasql.ZetaSQLOptions.LanguageFeature;
import com.google.zetasql.ZetaSQLOptions.LanguageVersion;
import com.google.zetasql.ZetaSQLOptions.ProductMode;
import com.google.zetasql.ZetaSQLType.TypeKind;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
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
    String sql = asked.get("sql").getAsString();
    String dataset = asked.get("dataset").getAsString();
    JsonObject tables = asked.getAsJsonObject("tables");
    return asked.get("op").getAsString().equals("analyze")
        ? analyzed(sql, dataset, tables) : evaluated(sql, dataset, tables);
  }

  static JsonObject analyzed(String sql, String dataset, JsonObject tables) {
    World world = new World(language());
    SimpleCatalog place = world.catalog.addNewSimpleCatalog(dataset);
    for (String name : tables.keySet()) {
      SimpleTable table = new SimpleTable(name);
      row(tables, name).getFieldList().forEach(f -> table.addSimpleColumn(f.getName(), f.getType()));
      place.addSimpleTable(table);
    }
    try {
      Analyzer.analyzeStatement(sql, world.options, world.catalog);
    } catch (SqlException error) {
      // it was analysed, and the resolved tree that comes back is more than one message, or nests deeper than protobuf
      // reads in Java
      boolean large = error.getMessage().contains("gRPC message exceeds maximum size");
      if (!large && !(root(error) instanceof InvalidProtocolBufferException)) {
        throw error;
      }
    }
    return new JsonObject();
  }

  // Only tables outside datasets can have rows here. So the dataset is such a table, of one row, in which each table is
  // an array of rows, which is what FROM dataset.table then reads: the text stays as it is. Without a dataset ("") the
  // tables are what the text calls by their names alone.
  static JsonObject evaluated(String sql, String dataset, JsonObject tables) {
    List<SimpleTable> made = new ArrayList<>();
    Map<String, TableContent> contents = new HashMap<>();
    SimpleTable whole = new SimpleTable(dataset);
    List<Value> arrays = new ArrayList<>();
    for (String name : tables.keySet()) {
      StructType type = row(tables, name);
      SimpleTable table = new SimpleTable(name);
      type.getFieldList().forEach(f -> table.addSimpleColumn(f.getName(), f.getType()));
      List<List<Value>> rows = new ArrayList<>();
      for (JsonElement cells : tables.getAsJsonObject(name).getAsJsonArray("rows")) {
        List<Value> row = new ArrayList<>();
        for (int i = 0; i < type.getFieldCount(); i++) {
          row.add(value(type.getField(i).getType(), cells.getAsJsonArray().get(i)));
        }
        rows.add(row);
      }
      if (dataset.isEmpty()) {
        made.add(table);
        contents.put(name, TableContent.create(rows));
        continue;
      }
      ArrayType array = TypeFactory.createArrayType(type);
      whole.addSimpleColumn(name, array);
      List<Value> structs = new ArrayList<>();
      rows.forEach(row -> structs.add(Value.createStructValue(type, row)));
      arrays.add(Value.createArrayValue(array, structs));
    }
    if (!dataset.isEmpty()) {
      made.add(whole);
      contents.put(dataset, TableContent.create(List.of(arrays)));
    }
    JsonArray columns = new JsonArray();
    JsonArray found = new JsonArray();
    made.forEach(EVALUATED.catalog::addSimpleTable);
    try (PreparedQuery query = PreparedQuery.builder().setSql(sql).setAnalyzerOptions(EVALUATED.options)
        .setCatalog(EVALUATED.catalog).setTablesContents(contents)
        .prepare()) {
      for (SimpleColumn column : query.getColumns()) {
        JsonArray pair = new JsonArray();
        pair.add(column.getName());
        pair.add(column.getType().typeName(ProductMode.PRODUCT_EXTERNAL));
        columns.add(pair);
      }
      for (List<Value> row : query.execute(Map.of()).getTableData()) {
        JsonArray cells = new JsonArray();
        row.forEach(cell -> cells.add(json(cell)));
        found.add(cells);
      }
    } finally {
      made.forEach(EVALUATED.catalog::removeSimpleTable);
    }
    JsonObject said = new JsonObject();
    said.add("columns", columns);
    said.add("rows", found);
    return said;
  }

  // What a row of a table is made of.
  static StructType row(JsonObject tables, String name) {
    List<StructField> fields = new ArrayList<>();
    for (JsonElement pair : tables.getAsJsonObject(name).getAsJsonArray("columns")) {
      fields.add(new StructField(pair.getAsJsonArray().get(0).getAsString(),
          TypeFactory.createSimpleType(kind(pair.getAsJsonArray().get(1).getAsString()))));
    }
    return TypeFactory.createStructType(fields);
  }

  static Throwable root(Throwable error) {
    return error.getCause() == null ? error : root(error.getCause());
  }

  // As BigQuery has it: what GoogleSQL has released, types by their public names, none of 32 bits; QUALIFY is reserved.
  // https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types and .../lexical#reserved_keywords
  static LanguageOptions language() {
    LanguageOptions made = new LanguageOptions();
    made.setEnabledLanguageFeatures(LanguageOptions.getLanguageFeaturesForVersion(LanguageVersion.VERSION_CURRENT));
    made.enableLanguageFeature(LanguageFeature.FEATURE_NUMERIC_TYPE);
    made.enableLanguageFeature(LanguageFeature.FEATURE_BIGNUMERIC_TYPE);
    made.enableLanguageFeature(LanguageFeature.FEATURE_DISABLE_FLOAT32);
    made.enableReservableKeyword("QUALIFY");
    made.setProductMode(ProductMode.PRODUCT_EXTERNAL);
    made.setSupportsAllStatementKinds();
    return made;
  }

  static LanguageOptions arrays() {
    LanguageOptions made = language();
    made.enableLanguageFeature(LanguageFeature.FEATURE_SINGLE_TABLE_NAME_ARRAY_PATH);
    return made;
  }

  // A language, and a catalogue of its functions and types.
  static final class World {
    final AnalyzerOptions options = new AnalyzerOptions();
    final SimpleCatalog catalog = new SimpleCatalog("project");

    World(LanguageOptions language) {
      options.setLanguageOptions(language);
      options.setErrorMessageMode(ErrorMessageMode.ERROR_MESSAGE_ONE_LINE);
      options.setDefaultTimezone("UTC");
      options.setPruneUnusedColumns(true);
      catalog.addZetaSQLFunctionsAndTypes(new ZetaSQLBuiltinFunctionOptions(language));
    }
  }

  static final World EVALUATED = new World(arrays());

  static TypeKind kind(String name) {
    return TypeKind.valueOf("TYPE_" + (name.equals("FLOAT64") ? "DOUBLE" : name));
  }

  static Value value(Type type, JsonElement cell) {
    if (cell.isJsonNull()) {
      return Value.createNullValue(type);
    }
    switch (type.getKind()) {
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
        throw new IllegalArgumentException("a column of " + type.getKind());
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
