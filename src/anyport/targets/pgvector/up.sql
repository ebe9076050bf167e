-- Makes the table of vectors, its index and the functions that search it. Safe to run again, and after an upgrade.

begin;

set local standard_conforming_strings = on;

set local client_min_messages = warning;

do $anyport$
declare
  held text := (select extversion from pg_extension where extname = 'vector');
begin
  if held is null and not exists (select from pg_available_extensions where name = 'vector') then
    raise exception 'pgvector is not installed on this server'
      using hint = 'install pgvector 0.8 or newer there (Debian: apt-get install postgresql-NN-pgvector)';
  end if;
  if held is null and not has_database_privilege(current_database(), 'create') then
    raise exception 'the extension vector is not in this database, and % may not create it', current_user
      using hint = 'create extension vector;';
  end if;
  if string_to_array(substring(held from '^[0-9.]+'), '.')::int[] < array[0, 8] then
    raise exception 'pgvector % is too old: filtered searches need 0.8', held
      using hint = 'alter extension vector update;';
  end if;
end $anyport$;

create extension if not exists vector;

select set_config('search_path', quote_ident(n.nspname) || ', pg_temp', true)
from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector';

do $anyport$
declare
  at regclass;
  lacking text;
begin
  if to_regnamespace({{schema_text}}) is null then
    if not has_database_privilege(current_database(), 'create') then
      raise exception 'there is no schema %, and % may not create it', {{schema_text}}, current_user
        using hint = format('grant create on database %I to %I;', current_database(), current_user);
    end if;
    create schema {{schema}};
    comment on schema {{schema}} is {{note}};
  elsif not (has_schema_privilege({{schema_name}}, 'usage') and has_schema_privilege({{schema_name}}, 'create')) then
    raise exception '% may not create anything in schema %', current_user, {{schema_text}}
      using hint = format('grant usage, create on schema %s to %I;', {{schema_text}}, current_user);
  end if;
  if to_regnamespace({{rows_schema_text}}) is null then
    raise exception 'there is no schema %', {{rows_schema_text}};
  elsif not has_schema_privilege({{rows_schema_name}}, 'usage') then
    raise exception '% may not use schema %', current_user, {{rows_schema_text}}
      using hint = format('grant usage on schema %s to %I;', {{rows_schema_text}}, current_user);
  end if;
  at := to_regclass({{rows_text}});
  if at is null then
    raise exception 'there is no table %', {{rows_text}}
      using hint = 'create it first, or build with -O table=NAME (and -O table_schema=NAME)';
  elsif not has_table_privilege(at, 'select') then
    raise exception '% may not read %', current_user, {{rows_text}}
      using hint = format('grant select on %s to %I;', {{rows_text}}, current_user);
  end if;
  select string_agg(quote_ident(name), ', ') into lacking from unnest({{columns}}::text[]) name
  where not exists (select from pg_attribute where attrelid = at and attname = name and attnum > 0 and not attisdropped);
  if lacking is not null then
    raise exception '% has no column %', {{rows_text}}, lacking
      using hint = 'build with -O key=COLUMN and -O columns=INPUT=COLUMN,… (columns there: ' || (
        select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
        where attrelid = at and attnum > 0 and not attisdropped) || ')';
  end if;
  if (select relkind in ('r', 'p') from pg_class where oid = at) and not exists (
    select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = at and i.indisunique and i.indnkeyatts = 1 and i.indpred is null and a.attname = {{key_name}})
  then
    raise exception 'column % of % is not unique, and so no key', {{key_text}}, {{rows_text}}
      using hint = format('create unique index on %s (%s);', {{rows_text}}, {{key_text}});
  end if;
  if to_regclass({{vectors_text}}) is not null
     and obj_description(to_regclass({{vectors_text}}), 'pg_class') is distinct from {{note}} then
    raise exception '% is there already, and not ours', {{vectors_text}}
      using hint = 'build with -O name=NAME or -O schema=NAME';
  end if;
end $anyport$;

create table if not exists {{vectors}} as
select t.{{key}} as key, null::vector({{width}}) as embedding, null::double precision[] as unsearchable,
  null::text as refusal, null::text as model, null::bytea as source, null::timestamp with time zone as filled_at
from {{rows}} t with no data;

comment on table {{vectors}} is {{note}};

do $anyport$
declare
  ours regclass := to_regclass({{vectors_text}});
  made text;
begin
  if (select atttypid from pg_attribute where attrelid = ours and attname = 'key') is distinct from
     (select atttypid from pg_attribute where attrelid = to_regclass({{rows_text}}) and attname = {{key_name}}) then
    raise exception 'the key of % is of another type than that of %', {{rows_text}}, {{vectors_text}}
      using hint = 'run down.sql, and then this again';
  end if;
  made := obj_description(to_regclass({{index_text}}), 'pg_class');
  if made is distinct from {{index_note}} then
    drop index if exists {{index}};
  end if;
  if (select atttypmod from pg_attribute where attrelid = ours and attname = 'embedding') <> {{width}} then
    truncate {{vectors}};
    alter table {{vectors}} alter column embedding type vector({{width}});
  end if;
end $anyport$;

alter table {{vectors}} alter column key set not null;

create unique index if not exists {{unique}} on {{vectors}} (key);

{{create_index}};

comment on index {{index}} is {{index_note}};

create or replace function {{search}}(
  query vector, k integer default 10, filter jsonb default null, ef_search integer default null,
  exact boolean default false)
returns table (key {{rows}}.{{key}}%type, distance double precision)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_custom_plan
set hnsw.iterative_scan = {{iterative}}
set hnsw.ef_search = {{ef_search}}
as $anyport$
begin
  if {{self}}.exact then
    return query
      select v.key, v.embedding {{operator}} {{self}}.query from {{vectors}} v join {{rows}} t on t.{{key}} = v.key
      where v.model = {{model}} and v.embedding is not null
        and ({{self}}.filter is null or to_jsonb(t) @> {{self}}.filter)
      order by (v.embedding {{operator}} {{self}}.query) + 0.0 limit {{self}}.k;
    return;
  end if;
  perform set_config('hnsw.ef_search', greatest(1, least(1000,
    greatest(coalesce({{self}}.ef_search, {{ef_search}}), {{self}}.k)))::text, true);
  return query
    with near as materialized (
      select v.key, v.embedding {{operator}} {{self}}.query as distance
      from {{vectors}} v join {{rows}} t on t.{{key}} = v.key
      where v.model = {{model}} and v.embedding is not null
        and ({{self}}.filter is null or to_jsonb(t) @> {{self}}.filter)
      order by v.{{indexed}} {{operator}} {{self}}.query{{as_indexed}} limit {{self}}.k)
    select near.key, near.distance from near order by near.distance;
end $anyport$;

comment on function {{search}}(vector, integer, jsonb, integer, boolean) is {{note}};

create or replace function {{like}}(
  key {{rows}}.{{key}}%type, k integer default 10, filter jsonb default null, ef_search integer default null)
returns table (near {{rows}}.{{key}}%type, distance double precision)
language sql stable
as $anyport$
  select s.key, s.distance from {{vectors}} v, {{search}}(v.embedding, $2 + 1, $3, $4) s
  where v.key = $1 and v.model = {{model}} and v.embedding is not null and s.key <> $1 order by s.distance limit $2
$anyport$;

do $anyport$
begin
  execute (select format('comment on function %s is %L', oid::regprocedure, {{note}}) from pg_proc
    where pronamespace = to_regnamespace({{schema_text}}) and proname = {{like_name}});
end $anyport$;

commit;
