do {tag}
declare
  item record;
  note jsonb;
  earlier text;
  statement text;
begin
  if to_regnamespace({quoted}) is null then
    return;
  end if;
  for item in
    select obj_description(p.oid, 'pg_proc') as said
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = {schema} and p.proname = {model} and obj_description(p.oid, 'pg_proc') like '{{"anyport alias"%'
  loop
    note := item.said::jsonb;
  end loop;
  if note ->> 'version' = {version} then
    earlier := format('%I.%I()', {schema}, {model} || '_v' || (note ->> 'before') || '_use');
    if note ->> 'before' <> '' and to_regprocedure(earlier) is not null then
      execute format('call %s', earlier);
    else
      for item in
        select c.oid::regclass as called
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = {schema} and c.relkind = 'v'
          and case when obj_description(c.oid, 'pg_class') like '{{"anyport view"%'
              then obj_description(c.oid, 'pg_class')::jsonb ->> 'anyport view' = {model} end
      loop
        execute format('drop view %s', item.called);
      end loop;
      for item in
        select p.oid::regprocedure as called
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname = {schema} and p.proname = {model}
          and obj_description(p.oid, 'pg_proc') like '{{"anyport alias"%'
      loop
        execute format('drop function %s', item.called);
      end loop;
    end if;
  end if;
  foreach statement in array {drops} loop
    execute statement;
  end loop;
  if obj_description(to_regnamespace({quoted}), 'pg_namespace') = {comment} then
    begin
      execute format('drop schema %I', {schema});
    exception when dependent_objects_still_exist then
      null;  -- another version, or something of yours, is in it
    end;
  end if;
end {tag};
