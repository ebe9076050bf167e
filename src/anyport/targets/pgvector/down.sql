-- Removes what up.sql made and nothing else: the table of rows and the extension stay.

begin;

set local standard_conforming_strings = on;

set local client_min_messages = warning;

do $anyport$
declare
  one regprocedure;
begin
  for one in
    select oid::regprocedure from pg_proc
    where pronamespace = to_regnamespace({{schema_text}}) and proname in ({{search_name}}, {{like_name}})
      and obj_description(oid, 'pg_proc') = {{note}}
  loop
    execute 'drop function ' || one;
  end loop;
  if obj_description(to_regclass({{vectors_text}}), 'pg_class') = {{note}} then
    drop table {{vectors}};
  end if;
  if obj_description(to_regnamespace({{schema_text}}), 'pg_namespace') = {{note}}
     and not exists (select from pg_class where relnamespace = to_regnamespace({{schema_text}}))
     and not exists (select from pg_proc where pronamespace = to_regnamespace({{schema_text}})) then
    drop schema {{schema}};
  end if;
end $anyport$;

commit;
