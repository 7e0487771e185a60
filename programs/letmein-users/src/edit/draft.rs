//! The text of a users file as a draft.

use super::{Edit, NewUser};
use crate::backend::Draft;
use crate::conditions::Condition;
use crate::credential::Credential;
use proto::credentials::Username;
use users::Problem;

impl Draft for Edit<'_> {
    fn find(&self, typed: &Username) -> Option<Username> {
        Edit::find(self, typed)
    }

    fn has(&self, name: &Username, credential: &Credential) -> bool {
        Edit::has(self, name, credential)
    }

    fn has_record(&self, name: &Username) -> bool {
        Edit::has_record(self, name)
    }

    fn has_records(&self) -> bool {
        Edit::has_records(self)
    }

    fn add(&mut self, user: &NewUser) {
        Edit::add(self, user);
    }

    fn set_credential(&mut self, name: &Username, new: &Credential) -> Result<(), Problem> {
        Edit::set_credential(self, name, new)
    }

    fn set(&mut self, name: &Username, condition: &Condition) -> Result<(), Problem> {
        match condition.in_toml() {
            Some(value) => {
                Edit::set(self, name, condition.key(), value);
                Ok(())
            }
            None => self.unset(name, condition.key()),
        }
    }

    fn rename(&mut self, name: &Username, new: &Username) {
        Edit::rename(self, name, new);
    }

    fn remove(&mut self, name: &Username) {
        Edit::remove(self, name);
    }
}
