create or replace procedure {name}() language plpgsql as {tag}
declare
  item record;
  note jsonb;
  before text := '';
  same boolean := false;
  statement text;
  shown text;
begin
  -- the stable name: ours, or nobody's
  for item in
    select p.oid::regprocedure as called, obj_description(p.oid, 'pg_proc') as said
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = {schema} and p.proname = {model}
  loop
    if item.said is null or item.said not like '{{"anyport alias"%' then
      raise exception 'there is a function % that anyport did not make', item.called
        using hint = 'choose another schema: -O schema=…';
    end if;
    note := item.said::jsonb;
    before := case when note ->> 'version' = {version} then note ->> 'before' else note ->> 'version' end;
    same := note ->> 'shape' = {shape};
    if not same then
      execute format('drop function %s', item.called);
    end if;
  end loop;
  foreach statement in array {aliases} loop
    execute statement;
  end loop;
  for item in
    select p.oid::regprocedure as called
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = {schema} and p.proname = {model}
  loop
    execute format('comment on function %s is %L', item.called, json_build_object(
      'anyport alias', {model}, 'version', {version}, 'before', before, 'shape', {shape})::text);
  end loop;
  -- views over tables: those that are there, and the one asked for
  for item in
    select note.said ->> 'table' as over
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    cross join lateral (select case when obj_description(c.oid, 'pg_class') like '{{"anyport view"%'
                               then obj_description(c.oid, 'pg_class')::jsonb end as said) note
    where n.nspname = {schema} and c.relkind = 'v' and note.said ->> 'anyport view' = {model}
    union
    select {over} where {over} <> ''
  loop
    shown := format('%I.%I', {schema}, {model} || '_of_' || replace(
      (parse_ident(item.over))[array_length(parse_ident(item.over), 1)], '"', ''));
    begin
      execute format('create or replace view %s as %s', shown, format({view}, item.over));
    exception when invalid_table_definition then
      execute format('drop view %s', shown);
      execute format('create view %s as %s', shown, format({view}, item.over));
    end;
    execute format('comment on view %s is %L', shown, json_build_object(
      'anyport view', {model}, 'version', {version}, 'table', item.over)::text);
    foreach statement in array {roles} loop
      execute format('grant select on %s to %s', shown, statement);
    end loop;
  end loop;
  foreach statement in array {grants} loop
    execute statement;
  end loop;
end {tag};
