// Microsoft's own parser and binder of T-SQL over a database that exists in memory alone: Driver.exe < batches
//
// Standard input: a batch a line, base64 of UTF-8. The schemas and tables that one makes are there for those after it.
// Standard output: an error a line: the batch's number, the line, the column, the message, with tabs between.
using System;
using System.Reflection;
using System.Text;
using Microsoft.SqlServer.Management.Common;
using Microsoft.SqlServer.Management.Sdk.Sfc;
using Microsoft.SqlServer.Management.Smo;
using Microsoft.SqlServer.Management.SmoMetadataProvider;
using Microsoft.SqlServer.Management.SqlParser.Binder;
using Microsoft.SqlServer.Management.SqlParser.Parser;
using Microsoft.SqlServer.Management.SqlParser.SqlCodeDom;

static class Driver
{
    const string Name = "anyport";
    const BindingFlags Any = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic;

    static void Main()
    {
        var database = Offline();
        IBinder binder = null;
        string line;
        for (var number = 0; (line = Console.In.ReadLine()) != null; number++)
        {
            var parsed = Parser.Parse(Encoding.UTF8.GetString(Convert.FromBase64String(line)), new ParseOptions("GO", true));
            if (binder == null)
                binder = BinderProvider.CreateBinder(SmoMetadataProvider.CreateDisconnectedProvider(database.Parent));
            binder.Bind(new[] { parsed }, Name, BindMode.Batch);
            foreach (var error in parsed.Errors)
            {
                var message = error.Message.Trim().Replace('\t', ' ').Replace('\r', ' ').Replace('\n', ' ');
                Console.WriteLine("{0}\t{1}\t{2}\t{3}", number, error.Start.LineNumber, error.Start.ColumnNumber, message);
            }
            if (Make(database, parsed.Script))
                binder = null; // a provider takes up what is there when it is made
        }
    }

    // A server that nobody connects to. SMO asks it for its platform all the same, and the provider for master.
    static Database Offline()
    {
        var server = new Server(new ServerConnection { ServerVersion = new ServerVersion(13, 0), TrueName = Name });
        ((ISfcHasConnection)server).ConnectionContext.Mode = SfcConnectionContextMode.Offline;
        Say(server, "HostPlatform", "Windows");
        Say(server, "Collation", "SQL_Latin1_General_CP1_CI_AS");
        new Database(server, "master").Create();
        var database = new Database(server, Name);
        database.Create();
        return database;
    }

    static void Say(Server server, string name, object value)
    {
        var property = typeof(PropertyCollection).GetMethod("Get", Any, null, new[] { typeof(string) }, null)
            .Invoke(server.Properties, new object[] { name });
        typeof(Property).GetMethod("SetValue", Any).Invoke(property, new[] { value });
        typeof(Property).GetMethod("SetRetrieved", Any).Invoke(property, new object[] { true });
    }

    // Whether something was made.
    static bool Make(Database database, SqlCodeObject within)
    {
        var made = false;
        foreach (var child in within.Children)
            made |= Make(database, child);
        var schema = within as SqlCreateSchemaStatement;
        if (schema != null)
        {
            new Schema(database, schema.Name.Value).Create();
            return true;
        }
        var table = within as SqlCreateTableStatement;
        if (table == null || database.Tables.Contains(table.Name.ObjectName.Value, table.Name.SchemaName.Value))
            return made;
        var found = new Table(database, table.Name.ObjectName.Value, table.Name.SchemaName.Value);
        foreach (var column in table.Definition.ColumnDefinitions)
            found.Columns.Add(new Column(found, column.Name.Value, Kind(column.DataType)));
        found.Create();
        return true;
    }

    static DataType Kind(SqlDataTypeSpecification said)
    {
        var name = said.DataType.ObjectIdentifier.ObjectName.Value.ToLowerInvariant();
        switch (name)
        {
            case "double":
            case "float": return DataType.Float;
            case "bigint": return DataType.BigInt;
            case "int": return DataType.Int;
            case "smallint": return DataType.SmallInt;
            case "tinyint": return DataType.TinyInt;
            case "bit": return DataType.Bit;
            case "decimal": return DataType.Decimal(said.Argument2 ?? 0, said.Argument1 ?? 18);
            case "char": return DataType.Char(said.Argument1 ?? 1);
            case "nvarchar": return said.IsMaximum ? DataType.NVarCharMax : DataType.NVarChar(said.Argument1 ?? 1);
            case "varbinary": return said.IsMaximum ? DataType.VarBinaryMax : DataType.VarBinary(said.Argument1 ?? 1);
            case "datetimeoffset": return DataType.DateTimeOffset(said.Argument1 ?? 7);
            default: throw new NotSupportedException("a column of type " + name);
        }
    }
}
